"""What a successor must know to go on with the mount of a dead worker.

Not here: the takeover itself (`run`, `posix.restore`).
Imported by `posix`, `mount` and `run`.
"""
