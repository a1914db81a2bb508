"""The table of a run, in Markdown: each check, its result, its seconds, and what it measured.

A check adds what it measured with `record_property("measured", TEXT)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """One check."""

    result: str = "passed"
    seconds: float = 0.0
    remark: str = ""


class Table:
    """Collects the outcome of each check, as a plugin of pytest."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one phase of one check: a failure of any phase counts."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        row = self._rows.get(name, Row())
        result, remark = row.result, row.remark or _measured(report)
        if report.failed:
            result, remark = "FAILED", "; ".join(filter(None, (_why(report), _measured(report))))
        elif report.skipped:
            result, remark = "left out", _why(report)
        self._rows[name] = Row(result, row.seconds + report.duration, remark)

    def lines(self) -> list[str]:
        """Return the table, and under it one line with its sum."""
        count = dict.fromkeys(("passed", "FAILED", "left out"), 0)
        for row in self._rows.values():
            count[row.result] += 1
        return [
            "| check | result | seconds | measured |",
            "|---|---|---|---|",
            *(
                f"| {name} | {row.result} | {row.seconds:.0f} | {row.remark} |"
                for name, row in self._rows.items()
            ),
            "",
            f"{count['passed']} passed, {count['FAILED']} failed, {count['left out']} left out",
        ]


def _measured(report: pytest.TestReport) -> str:
    return "; ".join(str(value) for key, value in report.user_properties if key == "measured")


def _why(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message).splitlines() if crash else [""]
    # kubectl's warnings come before its error.
    return next((line for line in lines if line.startswith("Error")), lines[0])[:160]
