"""One review: the envelope, the decision, its warnings, and its answer.

Not here: HTTP (`serve`), how a pod is changed (`pod`).
Imported by `serve` and `offline`.
"""
