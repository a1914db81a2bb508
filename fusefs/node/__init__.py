"""Node mode: the keeper of all pods of a node, a CSI node plugin `s3.mount`, with their cache.

Not here: credentials, S3 code, a filesystem, requests to the API server.
Imported by `fusefs.__main__` alone, for grpcio and protobuf are large.
"""
