"""The webhook's certificate authority and leaf certificates.

Two commands: `issue` writes a CA and a leaf into a directory, with no cluster in sight; `rotate`
runs beside the webhook and keeps CA, leaf and the caBundle of the webhook configuration fresh.
"""
