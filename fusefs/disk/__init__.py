"""The local disk: counted space, lines of journals, the state of its health.

Not here: what the bytes mean. It imports ground modules only.
Imported by `cache`, `write`, `names`, `session` and `mount`.
"""
