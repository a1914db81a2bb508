"""Commands that need no cluster: inject, explain, check-policy.

Not here: the server (`serve`).
Imported by `webhook.__main__` only.
"""
