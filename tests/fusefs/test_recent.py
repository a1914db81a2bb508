"""Dictionaries that keep what was set last."""

from fusefs.recent import Recent


def test_what_was_set_longest_ago_goes() -> None:
    """Setting a key again counts as new; looking it up doesn't."""
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"], recent["a"] = 1, 2, 3
    assert recent["b"] == 2
    recent["c"] = 4
    assert dict(recent) == {"a": 3, "c": 4}
