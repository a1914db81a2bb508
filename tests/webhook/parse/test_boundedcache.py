"""No cache grows with the length of what somebody wrote."""

from tests.sources import modules
from webhook.parse.boundedcache import LONGEST, MOST, bounded_cache, remembered


def test_short_texts_are_computed_once() -> None:
    """The second call asks nobody."""
    asked = []
    call = bounded_cache(lambda text: asked.append(text) or text)
    assert [call("a"), call("a")] == ["a", "a"]
    assert asked == ["a"]


def test_long_texts_are_not_kept() -> None:
    """They are computed each time, together with what else is given."""
    asked = []
    call = bounded_cache(lambda one, other: asked.append(one + other))
    for _ in range(2):
        call("a" * LONGEST, "b")
    assert len(asked) == 2


def test_only_so_many_are_kept() -> None:
    """The oldest go."""
    asked = []
    call = bounded_cache(asked.append)
    for number in [*range(MOST + 1), 0]:
        call(str(number))
    assert asked.count("0") == 2


def test_there_is_no_other_cache() -> None:
    """Whoever wants one has to take this one: an unbounded key is a way to end a replica."""
    caches = {"functools", "functools.lru_cache", "functools.cache"}
    users = [m.name for m in modules().values() if m.package == "webhook" and m.imports & caches]
    assert users == ["webhook.parse.boundedcache"]


def test_values_are_remembered_by_the_length_of_their_texts() -> None:
    """As texts are, with bounds of their own."""
    asked = []
    call = remembered(lambda value: asked.append(value) or value, len, longest=3, most=2)
    for value in ("abc", "abc", "abcd", "abcd", "x", "y", "abc"):
        assert call(value) == value
    assert asked == ["abc", "abcd", "abcd", "x", "y", "abc"]
