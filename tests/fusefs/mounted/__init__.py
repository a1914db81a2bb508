"""Tests through the kernel: a real mount, a real S3 server, content compared through boto3."""
