"""What SIGUSR2 has a worker log of one mount: its files, its uploads, how long things took.

Not here: signals (`run.diagnostics`). Any thread; asks no store, changes nothing.
"""

import errno
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fusefs.timings import Durations

if TYPE_CHECKING:
    from fusefs.mount.mount import Mounted

MOST = 50  # files that are named one by one
SLOWEST = 10


def diagnosis(mounted: "Mounted") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield lines: what each is about, and its fields."""
    yield "state", {"trouble": mounted.trouble(), "mode": mounted.mode.name, **mounted.counts()}
    for file in mounted.staging.dirty.all()[:MOST]:
        retry = file.retry
        yield (
            "a file that isn't in the store",
            {"key": file.key, "bytes": file.unsent, "error": retry.last_error},
        )
    now = time.monotonic()
    for each in mounted.store.transfers.all()[:MOST]:
        yield (
            "an upload in progress",
            {
                "key": each.key,
                "upload": each.upload,
                "parts": each.parts,
                "bytes": each.sent,
                "seconds": round(now - each.began, 1),
                "still_for": round(now - each.moved, 1),
            },
        )
    handles = mounted.open_handles()
    yield "open files", {"handles": len(handles), "nodes": sorted(set(handles.values()))[:MOST]}
    counters = mounted.store.counters
    yield "slowest operations", _slowest(counters.operations.read())
    yield "slowest requests", _slowest(counters.answers.read())


def _slowest(noted: Mapping[Any, Durations]) -> dict[str, str]:
    """Return the slowest kinds by their longest, each with that and its mean, in seconds."""
    ordered = sorted(noted.items(), key=lambda item: -item[1].longest)[:SLOWEST]
    return {
        _word(key): f"{each.longest:.3f}, mean {each.total / max(1, sum(each.counts)):.4f}"
        for key, each in ordered
    }


def _word(key: str | tuple[str, int]) -> str:
    if isinstance(key, str):
        return key
    return f"{key[0]} {errno.errorcode.get(key[1], key[1]) if key[1] else 'ok'}"
