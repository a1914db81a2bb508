"""Real S3 servers for tests: on loopback, in temporary directories, stopped at the end."""
