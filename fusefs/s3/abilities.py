"""The features of S3 that one store lacks. Requests leave out the headers of a missing feature.

Every feature counts as present until an answer of the store shows otherwise; each loss is logged
once. Not here: requests (`capabilities`, `optional`). Any thread: `_lock`, a leaf, guards changes
of the set, which is replaced as a whole.
"""

import logging
from collections.abc import Callable, Iterable
from enum import Enum

from fusefs import locks
from fusefs.locks import Rank

log = logging.getLogger(__name__)


class Ability(Enum):
    """One thing AWS does and others may not; the value is its name in `conditions.json`."""

    PUT_IF_MATCH = "put-if-match"
    PUT_IF_NONE_MATCH = "put-if-none-match"
    COMPLETE_CONDITION = "complete-condition"
    COPY_CONDITION = "copy-condition"
    DELETE_CONDITION = "delete-condition"
    CHECKSUMS_SENT = "checksums-sent"
    CHECKSUMS_ASKED = "checksums-asked"
    COPIED_CHECKSUMS = "copied-checksums"
    PART_COPY = "part-copy"

    __hash__ = object.__hash__  # members are single; Enum's own is slow, and each request asks


CONDITIONS = frozenset(
    {Ability.PUT_IF_MATCH, Ability.PUT_IF_NONE_MATCH, Ability.COMPLETE_CONDITION}
)
LAST_WINS = "of two writers the last one wins unnoticed"
# What an operator has to know; the rest is logged as information.
WARNINGS = {
    Ability.PUT_IF_MATCH: f"this store has no If-Match on writes: {LAST_WINS}",
    Ability.PUT_IF_NONE_MATCH: f"this store has no If-None-Match on writes: {LAST_WINS}",
    Ability.COMPLETE_CONDITION: (
        "this store has no conditions on multipart uploads: of two writers of a large file "
        "the last one wins unnoticed"
    ),
    Ability.CHECKSUMS_SENT: "this store refuses checksums: what is sent carries an MD5 instead",
    Ability.PART_COPY: "this store can't copy parts: changes of large files send all of it",
}


class Abilities:
    """The features of one store."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._missing: frozenset[Ability] = frozenset()
        self._lock = locks.lock(Rank.LEAF)
        self.proven = False  # it refused a write whose condition didn't hold
        # Called before a request with this feature, to ask the store about it first.
        self.ask: Callable[[Ability], None] = lambda _: None

    def has(self, ability: Ability) -> bool:
        """Return whether the store has a feature, as far as is known."""
        return ability not in self._missing

    def lose(self, ability: Ability, reason: object, warning: str | None = None) -> None:
        """Note that the store lacks a feature; `reason` is the answer that showed it."""
        with self._lock:
            if ability in self._missing:
                return
            self._missing |= {ability}
        warned = warning or WARNINGS.get(ability)
        level = logging.WARNING if warned else logging.INFO
        message = warned or f"this store is used without: {ability.value}"
        log.log(level, message, extra={"bucket": self._bucket, "reason": str(reason)})

    @property
    def missing(self) -> list[str]:
        """The names of the missing features, for `conditions.json`."""
        return sorted(ability.value for ability in self._missing)

    def recall(self, names: Iterable[str]) -> None:
        """Take over names read from `conditions.json`; unknown names are ignored."""
        known = {ability.value: ability for ability in Ability}
        with self._lock:
            self._missing |= {known[name] for name in names if name in known}
