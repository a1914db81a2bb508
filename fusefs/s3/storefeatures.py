"""The features of S3 that one store lacks. Requests leave out the headers of a missing feature.

Every feature counts as present until an answer of the store shows otherwise; each loss is logged
once. Not here: requests (`conditionprobes`, `optionalheaders`). Any thread: `_lock`, a leaf, guards
changes of the set, which is replaced as a whole.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TypeVar

from fusefs import locks
from fusefs.locks import Rank

log = logging.getLogger(__name__)

T = TypeVar("T")


class StoreFeature(Enum):
    """One thing AWS does and others may not; the value is its name in `conditions.json`."""

    PUT_IF_MATCH = "put-if-match"
    PUT_IF_NONE_MATCH = "put-if-none-match"
    COMPLETE_CONDITION = "complete-condition"
    COPY_CONDITION = "copy-condition"
    DELETE_CONDITION = "delete-condition"
    CHECKSUMS_SENT = "checksums-sent"
    CHECKSUMS_ASKED = "checksums-asked"
    PART_COPY = "part-copy"

    __hash__ = object.__hash__  # members are single; Enum's own is slow, and each request asks


CONDITIONS = frozenset(
    {StoreFeature.PUT_IF_MATCH, StoreFeature.PUT_IF_NONE_MATCH, StoreFeature.COMPLETE_CONDITION}
)
LAST_WINS = "of two writers the last one wins unnoticed"
# What an operator has to know; the rest is logged as information.
WARNINGS = {
    StoreFeature.PUT_IF_MATCH: f"this store has no If-Match on writes: {LAST_WINS}",
    StoreFeature.PUT_IF_NONE_MATCH: f"this store has no If-None-Match on writes: {LAST_WINS}",
    StoreFeature.COMPLETE_CONDITION: (
        "this store has no conditions on multipart uploads: of two writers of a large file "
        "the last one wins unnoticed"
    ),
    StoreFeature.CHECKSUMS_SENT: "this store refuses checksums: an MD5 is sent instead",
    StoreFeature.PART_COPY: "this store can't copy parts: changes of large files send all of it",
}


class StoreFeatures:
    """The features of one store."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._missing: frozenset[StoreFeature] = frozenset()
        self._lock = locks.lock(Rank.LEAF)
        self.proven = False  # it refused a write whose condition didn't hold
        # Called before a request with this feature, to ask the store about it first, unless the
        # feature is among those that the store has answered for, or is never asked about.
        self.ask: Callable[[StoreFeature], None] = lambda _: None
        self.answered: frozenset[StoreFeature] = frozenset(StoreFeature) - CONDITIONS
        # Says whether the store was seen to honour a condition on which more than usual depends.
        self.prove: Callable[[StoreFeature], bool] = lambda _: False

    def has(self, feature: StoreFeature) -> bool:
        """Return whether the store has a feature, as far as is known."""
        return feature not in self._missing

    def usable(self, optional: Mapping[StoreFeature, T]) -> Mapping[StoreFeature, T]:
        """Return what of `optional` the store has, which is asked first where nobody did."""
        for feature in optional:
            if feature not in self.answered:
                self.ask(feature)
        missing = self._missing
        if missing.isdisjoint(optional):
            return optional
        return {feature: value for feature, value in optional.items() if feature not in missing}

    def lose(self, feature: StoreFeature, reason: object, warning: str | None = None) -> None:
        """Note that the store lacks a feature; `reason` is the answer that showed it."""
        with self._lock:
            if feature in self._missing:
                return
            self._missing |= {feature}
        warned = warning or WARNINGS.get(feature)
        level = logging.WARNING if warned else logging.INFO
        message = warned or f"this store is used without: {feature.value}"
        log.log(level, message, extra={"bucket": self._bucket, "reason": str(reason)})

    @property
    def missing(self) -> list[str]:
        """The names of the missing features, for `conditions.json`."""
        return sorted(feature.value for feature in self._missing)

    def recall(self, names: Iterable[str]) -> None:
        """Take over names read from `conditions.json`; unknown names are ignored."""
        known = {feature.value: feature for feature in StoreFeature}
        with self._lock:
            self._missing |= {known[name] for name in names if name in known}
