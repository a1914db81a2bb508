"""The privileged half: it mounts, keeps the `/dev/fuse` descriptor and hands it over.

Not here: credentials, S3 code, a filesystem.
Imported by `run` and `fusefs.__main__`.
"""
