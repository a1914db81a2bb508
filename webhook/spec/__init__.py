"""What annotations mean: the table of keys, and text to frozen mount specifications.

Not here: whether a namespace may have it (`policy`).
Imported by `pod`, `policy`, `review` and `offline`.
"""
