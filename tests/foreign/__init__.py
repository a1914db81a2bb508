"""Test suites of others, run on a mount of ours; their sources are brought by whoever runs them.

    python -m tests.foreign SUITE CHECKOUT [--driver native|fusepy] [--only WORD]

`stand` is a store with a mount, `known` reads what is known to fail and by which heading of
docs/semantics.md, and each suite has a module that runs it and says what happened to each test.
docs/testing.md has the results. Linux and root only, not part of `make test`.
"""
