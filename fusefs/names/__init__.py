"""Paths, listings, attributes, and what changes them: create, remove, rename.

Not here: the content of files (`write`, `read`), handles (`posix`).
Imported by `posix` and `mount`.
"""
