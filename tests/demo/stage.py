"""Prints the demonstration: one line per step with its time, details indented below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class StepFailedError(Exception):
    """A step didn't succeed; the message names it and says why."""


class Stage:
    """Where the demonstration happens; used from one thread."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._details: list[str] = []

    def scene(self, title: str) -> None:
        """Announce what comes next."""
        print(f"\n{title}", flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time what happens inside; any exception ends the demonstration with this step's name."""
        began = monotonic()
        try:
            yield
        except Exception as error:
            self._line("FAILED", what, monotonic() - began)
            raise StepFailedError(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            details, self._details = self._details, []
        self._line("ok", what, monotonic() - began)
        for detail in details:
            print(f"           {detail}", flush=True)

    def tell(self, text: str) -> None:
        """Show lines below the step that is going on."""
        self._details.extend(text.splitlines())

    def _line(self, mark: str, what: str, seconds: float) -> None:
        print(f"  {mark:6} {what:<66} {seconds:6.2f} s", flush=True)

    def close(self, failure: StepFailedError | None) -> int:
        """Say how it went and return the exit status."""
        seconds = monotonic() - self._began
        if failure is not None:
            sys.stdout.flush()
            print(f"\nmake demo: FAILED at {failure}", file=sys.stderr)
            return 1
        print(f"\nDone in {seconds:.1f} s; everything that was started has been stopped.")
        return 0


def expect(condition: bool, otherwise: str) -> None:
    """Raise with this explanation unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)
