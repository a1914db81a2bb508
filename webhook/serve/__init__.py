"""The server: HTTP, TLS, the cluster's API, health, metrics and logs.

Not here: what a review decides (`review`).
Imported by `webhook.__main__` only.
"""
