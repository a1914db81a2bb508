"""One mount, built from its settings, bottom up, and taken down again.

Not here: the process around it (`run`), what a system call does (`posix`).
Imported by `run` and `cli`.
"""
