"""How a pod is changed: pure functions from a pod and its mounts to a changed copy.

Not here: parsing of annotations (`spec`), the decision (`review`).
Imported by `review`.
"""
