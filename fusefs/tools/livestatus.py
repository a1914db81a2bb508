"""`fusefs status`: what the mounts of this machine or pod do now.

It asks the worker's status socket, as probes do; nothing of the store is asked. Not here: what is
counted (`counters`), the metrics' port, the state of a whole cluster (`webhook status`). Main
thread only.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.run import status
from fusefs.run.status import MountStatus
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Cells, Screen, duration, size

WIDE = 130  # columns of a terminal that the whole row takes
SUPERVISORS = "s3mount-run-*/worker.sock"  # of `fusefs mount`
HEADS = (
    *("mount", "state", "read", "written", "from cache", "operations"),
    *("requests", "cache", "not in the store", "open"),
)


class StatusCommand:
    """The command and its options; on a terminal it goes on until Ctrl-C."""

    name = "status"
    help = "show what mounts do now"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("mountpoint", nargs="?", help="default: all mounts of this machine")
        parser.add_argument("--socket", help="where a worker answers")

    def run(self, args: argparse.Namespace, _: SettingsOf, screen: Screen) -> int:
        """Show it; return 1 if a mount isn't well."""
        sockets = [args.socket] if args.socket else sockets_here()
        looked = Looked()

        def look() -> tuple[Cells, list[Cells]]:
            found = wanted(asked(sockets), args.mountpoint)
            rows = looked.rows(found, time.monotonic())
            return turned(HEADS, rows) if screen.columns() < WIDE else (HEADS, rows)

        first = wanted(asked(sockets), args.mountpoint)
        if screen.as_json:
            screen.document({"mounts": {name: asdict(each) for name, each in first.items()}})
        else:
            screen.watch(look)
        for name, each in first.items():
            if each.trouble:
                screen.line(f"{name}: {each.trouble}")
        return 0 if all(_is_well(each) for each in first.values()) else 1


def turned(heads: Cells, rows: list[Cells]) -> tuple[Cells, list[Cells]]:
    """Return a table with a column for each mount, which fits where ten columns don't."""
    columns: list[Cells] = list(zip(heads, *rows, strict=True))
    return columns[0], columns[1:]


def _is_well(mount: MountStatus) -> bool:
    return not mount.trouble and mount.state == status.SERVING


def sockets_here() -> list[str]:
    """Return the sockets of the workers of this machine, or pod."""
    try:
        ours = [str(path) for path in sorted(Path(tempfile.gettempdir()).glob(SUPERVISORS))]
    except FileNotFoundError:  # nothing can be written, as in a pod: no supervisor has begun here
        ours = []
    return [status.SOCKET, *ours] if Path(status.SOCKET).exists() else ours


def asked(sockets: list[str]) -> dict[str, MountStatus]:
    """Return the mounts of all workers, by mountpoint where one name is used twice."""
    found: dict[str, MountStatus] = {}
    for path in sockets:
        try:
            answer = status.ask(path)
        except (OSError, ValueError):
            continue  # a worker that ended, or begins
        for name, each in answer.items():
            found[each.mountpoint if name in found or len(sockets) > 1 else name] = each
    return found


def wanted(found: Mapping[str, MountStatus], mountpoint: str | None) -> dict[str, MountStatus]:
    """Return those asked for; SetupError if there is none."""
    if mountpoint is not None:
        path = str(Path(mountpoint).absolute())
        names = {name for name, each in found.items() if path == each.mountpoint}
        found = {name: found[name] for name in names or {mountpoint} & found.keys()}
    if not found:
        raise SetupError(
            f"no mount {mountpoint or 'of ours'} answers here (those of --driver fusepy never do)"
        )
    return dict(found)


class Looked:
    """Makes rates of two looks at counters that only grow."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, Mapping[str, float]]] = {}

    def rows(self, found: Mapping[str, MountStatus], now: float) -> list[Cells]:
        """Return a row for each mount; totals at the first look, then a second's."""
        return [self._row(name, each, now) for name, each in found.items()]

    def _row(self, name: str, each: MountStatus, now: float) -> Cells:
        counts = each.counts
        before = self._before.get(name)
        self._before[name] = (now, counts)

        def rate(what: str, of: str = "") -> str:
            if before is None:
                total = counts.get(what, 0)
                return size(total) if of else f"{total:.0f}"
            grown = (counts.get(what, 0) - before[1].get(what, 0)) / max(now - before[0], 1e-3)
            return f"{size(grown)}/s" if of else f"{grown:.1f}/s"

        hit, missed = counts.get("hit_bytes", 0), counts.get("missed_bytes", 0)
        share = f"{100 * hit / (hit + missed):.0f} %" if hit + missed else "-"
        dirty = f"{size(counts.get('dirty_bytes', 0))} in {counts.get('dirty_files', 0):.0f}"
        if counts.get("dirty_oldest_seconds"):
            dirty += f", {duration(counts['dirty_oldest_seconds'])} old"
        limit = size(counts.get("cache_limit_bytes", 0))
        cache = f"{size(counts.get('cache_bytes', 0))} of {limit}"
        return (
            *(each.mountpoint or name, each.state, rate("received_bytes", "B")),
            *(rate("sent_bytes", "B"), share, rate("operations"), rate("requests"), cache, dirty),
            f"{counts.get('open_handles', 0):.0f}",
        )
