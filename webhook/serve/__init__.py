"""The server: HTTP, TLS, the cluster's API, health, metrics, logs, the policy file under watch.

Not here: what a review decides (`review`).
Imported by `webhook.__main__` only.
"""
