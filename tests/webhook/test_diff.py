"""The patch only adds, and says so when it couldn't."""

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.diff import additions
from webhook.errors import NotAddOnlyError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"a": 1}),
        ({"a": None}, {"a": [1]}),
        ({"a/b~c": {}}, {"a/b~c": {"d/e": 1}}),
        ({"l": [{"name": "x"}]}, {"l": [{"name": "y"}, {"name": "x", "more": 1}, {"name": "z"}]}),
        ({"l": [1, 2]}, {"l": [0, 1, 1, 2, 3]}),
        ({"l": []}, {"l": ["x"]}),
    ],
)
def test_additions_apply(old: Any, new: Any) -> None:
    """The operations, applied by another implementation, give the new document."""
    operations = additions(old, new)
    assert {operation["op"] for operation in operations} == {"add"}
    assert jsonpatch.apply_patch(old, operations) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({"a": True}, {"a": 1}),
        ({"l": [1, 2]}, {"l": [2, 1]}),
        ({"l": [{"name": "x"}]}, {"l": []}),
        ({"a": {"b": 1}}, {"a": [1]}),
    ],
)
def test_anything_else_is_refused(old: Any, new: Any) -> None:
    """Removing, changing and reordering never become a patch."""
    with pytest.raises(NotAddOnlyError):
        additions(old, new)


def test_listed_pointers_may_be_replaced() -> None:
    """A pointer on the list is replaced, another is not."""
    operation = {"op": "replace", "path": "/a", "value": 2}
    assert additions({"a": 1}, {"a": 2}, frozenset({"/a"})) == [operation]
    with pytest.raises(NotAddOnlyError):
        additions({"b": 1}, {"b": 2}, frozenset({"/a"}))


@given(st.lists(st.integers(0, 3)), st.lists(st.tuples(st.integers(0, 9), st.integers(4, 9))))
def test_grown_lists_apply(old: list[int], grown: list[tuple[int, int]]) -> None:
    """However a list grew, its additions rebuild it."""
    new = list(old)
    for position, value in grown:
        new.insert(position, value)
    assert jsonpatch.apply_patch({"l": old}, additions({"l": old}, {"l": new})) == {"l": new}
