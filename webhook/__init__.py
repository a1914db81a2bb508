"""The mutating admission webhook that gives annotated pods their S3 mounts."""

__version__ = "0.1.0"
