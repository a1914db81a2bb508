"""Text to values: quantities, bucket names, options, YAML documents, tables.

Not here: anything that knows a pod or a policy.
Imported by everyone.
"""
