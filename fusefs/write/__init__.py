"""Changed files until they are in the store: staged bytes, their journal, uploads.

Not here: names (`names`), clean content (`read`, `cache`).
Imported by `names`, `posix` and `mount`.
"""
