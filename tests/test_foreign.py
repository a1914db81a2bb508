"""Failures known of suites of others are explained under a heading of docs/semantics.md."""

import re

import pytest

from tests.foreign import known
from tests.sources import REPOSITORY

HEADINGS = re.findall(r"(?m)^#+ (.*)$", (REPOSITORY / "docs/semantics.md").read_text())
SUITES = sorted(file.stem.partition("-") for file in known.FOLDER.glob("*.txt"))


@pytest.mark.parametrize("suite", SUITES, ids="".join)
def test_every_known_failure_names_a_heading(suite: tuple[str, str, str]) -> None:
    """A reason that users can read."""
    name, _, driver = suite
    found = known.read(name, driver or "native")
    assert found and {each.heading for each in found} <= set(HEADINGS)


def test_checks_are_numbers_and_ranges_of_them() -> None:
    """And `*` is all of a test's."""
    some, all_of_them = known.parse("a/1.t 4,9-11 X_y: z"), known.parse("b * X: z")
    assert [number for number in range(20) if some.covers(number)] == [4, 9, 10, 11]
    assert (some.heading, some.reason) == ("X y", "z") and all_of_them.covers(7)
