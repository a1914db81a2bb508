"""Keeping what must not be uploaded: its bytes stay on the cache volume, and the log says where.

That is the loser of two writers, and what a power failure may have damaged.
"""

import logging

from fusefs.counters import Count
from fusefs.errors import Stale
from fusefs.write.staged import Staged
from fusefs.write.staging import Depot

log = logging.getLogger(__name__)


def keep(staged: Staged, depot: Depot, error: Stale) -> Stale:
    """Move what is staged to the conflicts; return what whoever has it open is told.

    Raises OSError where it can't be moved, with nothing changed.
    """
    key = staged.record.key
    kept = staged.keep_as_conflict(depot.conflicts)
    depot.kept.recount()
    depot.counters.add(Count.CONFLICT)
    log.error(
        "conflict: another writer was first; our version is kept on the cache volume",
        extra={"key": key, "kept": str(kept), "error": str(error)},
    )
    return Stale(f"{error}; our version is kept in {kept}")


def damaged(staged: Staged, depot: Depot) -> bool:
    """Keep what a power failure may have damaged; False where it is what was written.

    Raises OSError where it can't be moved; it is not to be uploaded then, either.
    """
    reason = staged.doubt()
    if not reason or staged.record.unlinked:
        return False
    record, outgoing = staged.record, staged.outgoing
    kept = staged.keep_as_conflict(depot.conflicts)
    depot.kept.recount()
    depot.counters.add(Count.CONFLICT)
    log.error(
        "changes that a power failure may have damaged are kept on the cache volume, not uploaded",
        extra={"key": record.key, "kept": str(kept), "error": reason},
    )
    if outgoing is not None:
        depot.committer.abort(outgoing.key, outgoing.upload)
    return True
