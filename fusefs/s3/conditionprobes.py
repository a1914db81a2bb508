"""Probes of the store: whether it honours conditions on writes.

AWS does since 2024, MinIO and SeaweedFS do; others ignore them, and the mount then works without,
after one warning. The questions are asked with a wrong ETag of a key nobody has, so that a store
that honours them stores nothing. Whether If-None-Match is refused is found out by its first use.
Most pods never write, or small files only: so nothing is asked at the mount, and uploads in parts
are asked about when the first is completed, and deletions before the first whose condition is all
that keeps it from another's object.

Any thread; `_asking` guards what is being asked, and is held meanwhile, so that other writers wait
for the answer.
"""

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from fusefs import locks, versions
from fusefs.errors import AccessDenied, FsError, NotFound, Stale, Unavailable
from fusefs.locks import Rank
from fusefs.objects import Headers
from fusefs.s3.etags import quoted
from fusefs.s3.store import Store
from fusefs.s3.storefeatures import StoreFeature

log = logging.getLogger(__name__)

FOUND = "conditions.json"
VERSION = 2  # of that file; version 1, or none, has two conditions only
NEVER = "00000000000000000000000000000000"
# What is asked, each once.
QUESTIONS = (StoreFeature.PUT_IF_MATCH, StoreFeature.COMPLETE_CONDITION)


class Conditions:
    """Finds out which conditions a store honours, and writes it down in `directory`."""

    def __init__(self, store: Store, prefix: str, directory: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._directory = directory
        self._asking = locks.rlock(Rank.PROBING)
        self._asked: frozenset[StoreFeature] = frozenset()  # and answered; replaced as a whole
        self._being_asked: set[StoreFeature] = set()
        self._deletes: bool | None = None
        store.features.ask = self.ask
        store.features.prove = self.prove

    def ask(self, feature: StoreFeature) -> None:
        """Make sure that the store was asked what a write with this condition has to know."""
        if feature in self._store.features.answered:
            return
        with self._asking:
            self._ask(StoreFeature.PUT_IF_MATCH)
            if feature is StoreFeature.COMPLETE_CONDITION:
                self._ask(feature)

    def prove(self, feature: StoreFeature) -> bool:
        """Say whether the store was seen to honour the condition of a deletion, asking it once."""
        assert feature is StoreFeature.DELETE_CONDITION  # noqa: S101 - of others `ask` suffices
        with self._asking:
            if self._deletes is None and self._store.features.has(feature):
                key = self._new_key()
                try:
                    self._deletes = _delete_honours(self._store, key)
                except FsError as error:
                    # An outage says nothing: it is asked again.
                    self._deletes = None if isinstance(error, Unavailable) else False
                    log.info("could not probe the store", extra={"key": key, "error": str(error)})
            return bool(self._deletes)

    def _new_key(self) -> str:
        return f"{self._prefix}.s3mount-probe-{uuid4().hex}"

    def _answered_for(self, questions: Iterable[StoreFeature]) -> None:
        """Note what the store has answered: one question tells of both conditions of a PUT."""
        self._asked |= set(questions)
        if StoreFeature.PUT_IF_MATCH in self._asked:
            told = self._asked | {StoreFeature.PUT_IF_NONE_MATCH}
            self._store.features.answered |= told

    def _ask(self, question: StoreFeature) -> None:
        # The questions are writes with conditions: those come here again.
        if question in self._asked or question in self._being_asked:
            return
        self._being_asked.add(question)
        try:
            if self._answered(question):
                self._answered_for({question})
                with suppress(OSError):  # a cache directory that was removed
                    self.keep()
        finally:
            self._being_asked.discard(question)

    def _answered(self, question: StoreFeature) -> bool:
        """Take away from the store's features what it refuses or ignores; False: no answer."""
        store, key = self._store, self._new_key()
        try:
            if question is StoreFeature.PUT_IF_MATCH:
                store.features.proven = _put_honours(store, key)
            elif store.features.has(StoreFeature.PUT_IF_MATCH):
                _probe_complete(store, key)
        except AccessDenied as error:
            log.warning(
                "no right to write: changes will fail",
                extra={"bucket": store.bucket, "error": str(error)},
            )
        except FsError as error:
            log.warning("could not probe the store", extra={"error": str(error)})
            return False
        return True

    def keep(self) -> None:
        """Write the findings to `conditions.json`, for the next process of this mount."""
        record = {
            "version": VERSION,
            "missing": self._store.features.missing,
            "proven": self._store.features.proven,
            "asked": sorted(each.value for each in QUESTIONS if each in self._asked),
        }
        (self._directory / FOUND).write_text(json.dumps(record), encoding="utf-8")

    def recall(self) -> None:
        """Read the findings of a previous process; without any, conditions are used.

        A file of an unknown version is ignored, and replaced after the next probe.
        """
        features = self._store.features
        try:
            record = json.loads((self._directory / FOUND).read_text(encoding="utf-8"))
            if versions.check(record, (1, VERSION)) == 1:
                found = {
                    StoreFeature.PUT_IF_MATCH: record["put"],
                    StoreFeature.COMPLETE_CONDITION: record["complete"],
                }
                features.recall(feature.value for feature, can in found.items() if not can)
            else:
                features.recall(str(name) for name in record["missing"])
                features.proven = bool(record["proven"])
            # Releases that didn't write it down had asked at the mount.
            asked = record.get("asked", [each.value for each in QUESTIONS])
            self._answered_for(each for each in QUESTIONS if each.value in asked)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("what the store can do is not known", extra={"error": str(error)})


def _put_honours(store: Store, key: str) -> bool:
    """Say whether If-Match keeps a PUT from being done; one that is refused is lost by asking."""
    try:
        store.put(key, b"", Headers(), NEVER)
    except (Stale, NotFound):
        return True
    with suppress(FsError):
        store.delete(key)
    store.features.lose(
        StoreFeature.PUT_IF_MATCH,
        "it stored what shouldn't have been",
        "this store ignores conditional writes: of two writers the last one wins unnoticed",
    )
    return False


def _delete_honours(store: Store, key: str) -> bool:
    """Say whether If-Match keeps a DELETE from being done: of what isn't there AWS does any."""
    store.put(key, b"", Headers(), None)
    try:
        store.client.call("delete_object", key, IfMatch=quoted(NEVER))
    except Stale:
        return True
    else:
        store.features.lose(StoreFeature.DELETE_CONDITION, "it deleted what it shouldn't have")
        return False
    finally:
        with suppress(FsError):
            store.delete(key)


def _probe_complete(store: Store, key: str) -> None:
    upload = store.uploads.create(key, Headers())
    try:
        part = store.uploads.part(key, upload, 1, b"s3mount")
        store.uploads.complete(key, upload, [part], NEVER)
    except (Stale, NotFound):
        with suppress(FsError):
            store.uploads.abort(key, upload)
        return
    with suppress(FsError):
        store.delete(key)
    store.features.lose(
        StoreFeature.COMPLETE_CONDITION,
        "it stored what shouldn't have been",
        "this store ignores conditions on multipart uploads: of two writers of a large file "
        "the last one wins unnoticed",
    )
