"""Which namespace may mount what: rules, and the file that holds them.

Not here: the reload of that file by a running server.
Imported by `review`, `serve` and `offline`.
"""
