"""The processes: the worker, its supervisor, and the probe of both.

Not here: how one mount is built (`mount`), the privileged half (`keeper`).
Imported by `fusefs.__main__` and `cli`.
"""
