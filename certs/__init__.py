"""The webhook's certificate authority and leaf certificates.

Two commands: `issue` writes a CA and a leaf into a directory, without a cluster; `rotate` runs
beside the webhook and renews CA, leaf and the caBundle of the webhook configuration.
"""
