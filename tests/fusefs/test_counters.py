"""What is counted, each by itself."""

from fusefs.counters import Count, Counters


def test_each_count_has_a_place_of_its_own() -> None:
    """Two of one number would be one count, and both metrics wrong."""
    assert sorted(Count.__members__.values()) == list(range(len(Count.__members__)))


def test_a_count_changes_no_other() -> None:
    """Also the last of them."""
    counters = Counters()
    for amount, count in enumerate(Count.__members__.values(), 1):
        counters.add(count, amount)
    found = [counters.get(count) for count in Count.__members__.values()]
    assert found == list(range(1, len(found) + 1))
