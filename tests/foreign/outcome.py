"""What a suite found, beside what is known of it.

`Outcome` collects; `Outcome.report` prints and says whether all is as documented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.foreign.known import Known


@dataclass
class Outcome:
    """Counts of checks, and the failed ones that no line of `known` explains."""

    known: list[Known]
    passed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    _hit: set[Known] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    def check(self, test: str, number: int, *, good: bool, said: str = "") -> None:
        """Note one check of a test."""
        self._seen.add(test)
        reason = next(
            (each for each in self.known if each.test == test and each.covers(number)), None
        )
        if good:
            self.passed += 1
        elif reason is None:
            self.unexplained.append(f"{test} {number}: {said}")
        else:
            self._hit.add(reason)
            self.explained[f"{reason.heading}: {reason.reason}"] += 1

    def leave_out(self, reason: str, tests: int = 1) -> None:
        """Note tests that say themselves that they don't apply, or that aren't run."""
        self.left_out[reason] += tests

    def outlived(self) -> Iterable[Known]:
        """Return what is known to fail and, though it was run, doesn't."""
        return [each for each in self.known if each.test in self._seen and each not in self._hit]

    def report(self) -> bool:
        """Print it; return whether every failure is explained and every explanation needed."""
        print(f"{self.passed} passed")
        for reason, count in self.explained.most_common():
            print(f"{count} failed as documented: {reason}")
        for reason, count in self.left_out.most_common():
            print(f"{count} left out: {reason}")
        for line in self.unexplained:
            print(f"FAILED {line}")
        for each in self.outlived():
            print(f"PASSED, though known to fail: {each.test} {each.heading}: {each.reason}")
        return not self.unexplained and not self.outlived()
