"""The state that lets the next worker resume the mount of a dead one.

Not here: the takeover itself (`run`, `posix.restore`).
Imported by `posix`, `mount` and `run`.
"""
