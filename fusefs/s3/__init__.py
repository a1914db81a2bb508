"""The store: requests, signatures, retries, and what a store was found to support.

Not here: file names, caching. Only `sdk` knows boto3.
Imported by everything above it that sends requests.
"""
