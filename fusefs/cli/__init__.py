"""Command lines: words and s3fs option names to frozen settings.

Not here: the processes that run (`run`) and what a mount is built from (`mount`).
Imported by `fusefs.__main__` only.
"""
