"""The few numbers of a mount that `fusefs status` shows, by name.

Not here: the metrics, which are many and have labels (`metrictable`). Any thread; asks no store.
"""

from collections.abc import Mapping

from fusefs.counters import Count, Counters
from fusefs.write.unsent import DirtySet

COUNTED = {
    "received_bytes": Count.RECEIVED,
    "sent_bytes": Count.SENT,
    "retries": Count.RETRIED,
    "hit_bytes": Count.HIT,
    "missed_bytes": Count.MISSED,
    "upload_failures": Count.UPLOAD_FAILED,
    "conflicts": Count.CONFLICT,
}


class LiveCounts:
    """Reads the counters of one mount."""

    def __init__(self, counters: Counters, dirty: DirtySet) -> None:
        self._counters = counters
        self._dirty = dirty

    def read(self, **more: float) -> Mapping[str, float]:
        """Return all of them, and `more`."""
        dirty = self._dirty.all()
        noted = self._counters.operations.read().values()
        return {
            **{name: self._counters.get(count) for name, count in COUNTED.items()},
            "requests": sum(self._counters.requests().values()),
            "operations": sum(sum(each.counts) for each in noted),
            "dirty_files": len(dirty),
            "dirty_bytes": sum(each.unsent for each in dirty),
            "dirty_oldest_seconds": round(self._dirty.oldest(), 1),
            **more,
        }
