"""Node mode: the keeper of all pods of a node, as a CSI node plugin named `s3.mount`.

Not here: credentials, S3 code, a filesystem, requests to the API server.
Imported by `fusefs.__main__` alone, for grpcio and protobuf are large.
"""
