"""What the platform team sets: frozen models, read from the environment, and resources.

Not here: how the server listens (`serve`), what a namespace may mount (`policy`).
Imported by every wing above `parse`.
"""
