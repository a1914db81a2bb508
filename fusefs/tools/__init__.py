"""Commands for people: what a mount does now, what is wrong with a bucket, what was left behind.

Not here: serving a mount. Nothing of a mount imports this; `cli` alone does, and only when asked.
"""
