"""Clean blocks on disk, by key and ETag, each with a CRC.

Not here: changed content (`write`); it asks no store.
Imported by `read`, `write`, `names`, `posix` and `mount`.
"""
