"""The caching S3 filesystem that the sidecar runs."""
