"""What a system call does: open files, directory streams, extended attributes.

Not here: FUSE structures (`kernel`, `fusepy`), S3 requests (`s3`).
Imported by `mount`.
"""
