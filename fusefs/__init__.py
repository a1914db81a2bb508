"""The caching S3 filesystem that the sidecar runs."""

__version__ = "0.1.0"
