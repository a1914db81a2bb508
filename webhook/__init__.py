"""The mutating admission webhook that gives annotated pods their S3 mounts."""
