"""Checks on a real cluster: `make e2e`, not part of `make test`. See docs/testing.md."""
