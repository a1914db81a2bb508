"""Events of Kubernetes on pods with buckets: a process of its own, which an overlay installs.

Not here: reviews, which this process doesn't answer, and what the numbers mean (docs/metrics.md).
Imported by `__main__`.
"""
