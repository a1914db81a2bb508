"""Which tests of others fail on a mount of ours for a reason that is documented.

A file `known/SUITE.txt` has lines of the form NAME NUMBERS HEADING: REASON. NUMBERS are those of a
script's checks (`4,9-11`, `*` for all), HEADING is one of docs/semantics.md with blanks as
underscores. Reads files only; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "known"


@dataclass(frozen=True)
class Known:
    """Checks of one test that fail, and why; `checks` is None where it is all of them."""

    test: str
    checks: frozenset[int] | None
    heading: str
    reason: str

    def covers(self, check: int) -> bool:
        """Return whether a check is one of these."""
        return self.checks is None or check in self.checks


def read(suite: str, driver: str = "native") -> list[Known]:
    """Return what is known of a suite, and of it on a driver (`SUITE-DRIVER.txt`)."""
    files = [FOLDER / f"{suite}.txt", FOLDER / f"{suite}-{driver}.txt"]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    return [parse(line) for line in lines if line and not line.startswith("#")]


def parse(line: str) -> Known:
    """Return what one line says."""
    test, numbers, rest = line.split(maxsplit=2)
    heading, _, reason = rest.partition(": ")
    return Known(test, _numbers(numbers), heading.replace("_", " "), reason)


def _numbers(text: str) -> frozenset[int] | None:
    if text == "*":
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
