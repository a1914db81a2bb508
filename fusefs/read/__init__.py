"""The content of one version of an object: read-ahead and fetches in flight.

Not here: changed content (`write`), what is on disk (`cache`).
Imported by `write`, `names`, `posix` and `mount`.
"""
