"""`make e2e`: run the checks on the cluster that KUBECONFIG names, and print one table."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

NEEDS = """\
make e2e runs the checks of tests/cluster on a real cluster. It needs:
  KUBECONFIG   administrator of a cluster for tests (1.30 or newer), e.g. of `kind create cluster`
  IMAGE        the image under test, NAME:TAG, on its nodes: `kind load docker-image NAME:TAG`
and it takes, if they are set:
  E2E_NODE     a program that reaches the node; without it checks of kills and outages are left out
  E2E_S3_ENDPOINT, E2E_S3_ACCESS_KEY, E2E_S3_SECRET_KEY   an S3 server, in place of one of its own
  E2E_S3_HOST  the address of this machine on which pods reach a server of its own
  ONLY         an expression over the names of checks, as for pytest -k
docs/testing.md has the details. Nothing was run."""


class Table:
    """Collects the outcome of each check and prints them at the end."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, float, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one phase of one check: a failure of any phase counts."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        outcome, seconds, why = self._rows.get(name, ("passed", 0.0, ""))
        if report.failed:
            outcome, why = "FAILED", _why(report)
        elif report.skipped:
            outcome, why = "left out", _why(report)
        self._rows[name] = (outcome, seconds + report.duration, why)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        write = terminalreporter.write_line
        width = max((len(name) for name in self._rows), default=0)
        write("")
        write(f"{'check':{width}}  {'result':8}  seconds")
        for name, (outcome, seconds, why) in self._rows.items():
            write(f"{name:{width}}  {outcome:8}  {seconds:7.1f}  {why}".rstrip())


def _why(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message).splitlines() if crash else [""]
    # kubectl's warnings come before its error.
    return next((line for line in lines if line.startswith("Error")), lines[0])[:160]


def main(environ: Mapping[str, str]) -> int:
    """Run the checks; 0 where all passed, and where nothing could be run."""
    if not (environ.get("KUBECONFIG") and environ.get("IMAGE")):
        print(NEEDS)
        return 0
    words = [
        str(Path(__file__).parent),
        "-q",
        "-m",
        "cluster",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    words += ["-k", environ["ONLY"]] if environ.get("ONLY") else []
    return int(pytest.main(words, plugins=[Table()]))


if __name__ == "__main__":
    sys.exit(main(os.environ))
