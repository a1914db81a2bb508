"""The store: requests, signatures, retries, and what a store was found to support.

Not here: file names, caching. Only `client` knows boto3.
Imported by everything above it that sends requests.
"""
