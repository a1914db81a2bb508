"""What a store was found not to do, so that it is asked without. No requests.

Everything counts as possible until an answer says otherwise; each loss is told in the log once.
Any thread. `_lock`, a leaf, guards the changes of the set, which is replaced as a whole.
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
    """What one store can do."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._missing: frozenset[Ability] = frozenset()
        self._lock = locks.lock(Rank.LEAF)
        self.proven = False  # it refused a write whose condition didn't hold
        # Finds out what a request that has this needs to know of the store.
        self.ask: Callable[[Ability], None] = lambda _: None

    def has(self, ability: Ability) -> bool:
        """Say whether a store may be asked for something."""
        return ability not in self._missing

    def lose(self, ability: Ability, reason: object, warning: str | None = None) -> None:
        """Remember that a store lacks something; `reason` is what showed it."""
        with self._lock:
            if ability in self._missing:
                return
            self._missing |= {ability}
        told = warning or WARNINGS.get(ability)
        level = logging.WARNING if told else logging.INFO
        message = told or f"this store is used without: {ability.value}"
        log.log(level, message, extra={"bucket": self._bucket, "reason": str(reason)})

    @property
    def missing(self) -> list[str]:
        """The names of what it lacks, to be written down."""
        return sorted(ability.value for ability in self._missing)

    def recall(self, names: Iterable[str]) -> None:
        """Take over what was written down; names of another version's are nothing."""
        known = {ability.value: ability for ability in Ability}
        with self._lock:
            self._missing |= {known[name] for name in names if name in known}
