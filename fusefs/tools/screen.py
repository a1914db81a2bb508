"""What a command shows: tables and progress on a terminal, plain lines or JSON elsewhere.

rich is used here only, and only on a terminal; where it isn't installed (it is an extra, which
pods don't have) a terminal gets the plain lines, too. Main thread only.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
Cells = Sequence[str]


def size(count: float) -> str:
    """Return bytes for a person."""
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """Return seconds for a person."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


class Screen:
    """Where a command writes; with `as_json` one JSON document and nothing else."""

    def __init__(self, as_json: bool = False, out: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self.live = self._out.isatty() and not as_json and _rich() is not None

    def columns(self) -> int:
        """Return how wide the terminal is; more than anything needs where there is none."""
        return shutil.get_terminal_size().columns if self.live else 1 << 10

    def document(self, value: Any) -> None:
        """Write a result as JSON."""
        self._write(json.dumps(value, indent=2, default=str) + "\n")

    def line(self, text: str = "") -> None:
        """Write a line for people; none where JSON is asked for."""
        if not self.as_json:
            self._write(printable(text) + "\n")

    def flush(self) -> None:
        """Have all that was written reach whoever reads it; OSError where it can't."""
        self._write("", flush=True)

    def abandon(self) -> None:
        """Write nothing more, not even what is left when the process ends."""
        with suppress(OSError, ValueError):  # no file, but a text of a test
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, self._out.fileno())
            finally:
                os.close(null)

    def _write(self, text: str, *, flush: bool = False) -> None:
        try:
            self._out.write(text)
            if flush:
                self._out.flush()
        except OSError as error:
            error.filename = "standard output"
            raise

    def table(self, heads: Cells, rows: Iterable[Cells]) -> None:
        """Write a table for people; none where JSON is asked for."""
        if self.live:
            from rich.console import Console

            Console(file=self._out).print(rich_table(heads, rows))
            return
        wide = [heads, *rows]
        widths = [max(len(printable(row[at])) for row in wide) for at in range(len(heads))]
        for row in wide:
            cells = (printable(cell).ljust(w) for cell, w in zip(row, widths, strict=True))
            self.line("  ".join(cells).rstrip())

    @contextmanager
    def progress(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show how much of `total` bytes is done; yields what to call with the bytes done."""
        if not self.live:
            yield self._progress_in_lines(what, total)
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            *(TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)),
            *(TransferSpeedColumn(), TimeRemainingColumn()),
        )
        with Progress(*columns, console=Console(file=self._out)) as shown:
            task = shown.add_task(what, total=total)
            yield lambda done: shown.update(task, completed=done)

    def _progress_in_lines(self, what: str, total: float) -> Callable[[float], None]:
        """Return what writes a line for each tenth, at most one in five seconds."""
        began = last = time.monotonic()
        shown = 0.0

        def show(done: float) -> None:
            nonlocal last, shown
            now = time.monotonic()
            if done - shown < total / 10 or now - last < 5:
                return
            last, shown = now, done
            left = (now - began) / done * (total - done)
            self.line(f"{what}: {size(done)} of {size(total)}, {duration(left)} left")

        return show

    def watch(self, look: Callable[[], tuple[Cells, list[Cells]]], seconds: float = 1.0) -> None:
        """Show a table that is looked up anew each second, until Ctrl-C; once elsewhere."""
        if not self.live:
            self.table(*look())
            return
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(file=self._out), auto_refresh=False) as live:
            try:
                while True:
                    live.update(rich_table(*look()), refresh=True)
                    time.sleep(seconds)
            except KeyboardInterrupt:
                return


def printable(text: str) -> str:
    """Show what a terminal must not get: control characters and broken UTF-8 as escapes."""
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return safe.encode("utf-8", "backslashreplace").decode()


def rich_table(heads: Cells, rows: Iterable[Cells]) -> Any:
    """Return a table of rich's."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    return table


def _rich() -> Any:
    try:
        import rich
    except ModuleNotFoundError:
        return None
    return rich


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def fields(mapping: Mapping[str, Any]) -> list[Cells]:
    """Return the rows of a table of names and values."""
    return [(name, str(value)) for name, value in mapping.items()]
