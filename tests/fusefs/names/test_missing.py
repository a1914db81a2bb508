"""How many names that aren't there are remembered, and which go first."""

from fusefs.names.missing import NEVER, MissingNames


def test_a_name_is_remembered_until_it_is_taken() -> None:
    """Of each directory for itself."""
    names = MissingNames()
    names.note(1, "a", 5.0)
    names.note(2, "a", 6.0)
    names.note(1, "a", 7.0)
    assert (names.since(1, "a"), names.since(2, "a"), names.since(1, "b")) == (7.0, 6.0, NEVER)
    assert (names.take(1, "a"), names.take(1, "a")) == (7.0, NEVER)


def test_their_number_is_bounded_in_all() -> None:
    """The oldest of the directory that was asked longest ago goes."""
    names = MissingNames(most=4)
    for directory, name in [(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e"), (1, "f")]:
        names.note(directory, name, 5.0)
    there = {(at, name) for at in (1, 2, 3) for name in "abcdef" if names.since(at, name) > 0}
    assert there == {(1, "b"), (3, "e"), (2, "d"), (1, "f")}


def test_a_dropped_directory_makes_room() -> None:
    """Its names count no more."""
    names = MissingNames(most=2)
    names.note(1, "a", 5.0)
    names.note(1, "b", 5.0)
    names.drop(1)
    names.drop(1)
    names.note(2, "c", 5.0)
    names.note(2, "d", 5.0)
    assert [names.since(2, name) for name in "cd"] == [5.0, 5.0]
