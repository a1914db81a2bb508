"""Multipart uploads that are neither complete nor aborted, as the store lists them.

Not here: which of them may be aborted (`write/abandoned`). Any thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fusefs.errors import NotFound
from fusefs.s3.store import Store


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One upload; `begun` is Unix time by the store's clock, in seconds."""

    key: str
    upload: str
    begun: float


def unfinished(store: Store, prefix: str) -> Iterator[Unfinished]:
    """Yield the unfinished uploads of keys under a prefix."""
    behind: dict[str, Any] = {}
    while True:
        answer = store.client.call("list_multipart_uploads", None, Prefix=prefix, **behind)
        for each in answer.get("Uploads", []):
            if each["Key"].startswith(prefix):
                yield Unfinished(each["Key"], each["UploadId"], each["Initiated"].timestamp())
        after = (answer.get("NextKeyMarker"), answer.get("NextUploadIdMarker"))
        if not answer.get("IsTruncated") or not after[0]:
            return
        behind = {"KeyMarker": after[0], "UploadIdMarker": after[1] or ""}


def idle(
    store: Store, prefix: str, since: float, spared: Callable[[Unfinished], bool] = lambda _: False
) -> Iterator[Unfinished]:
    """Yield those under a prefix that got no part after `since` (Unix, seconds, the store's clock).

    `spared` ones are left out without asking for their parts.
    """
    for found in unfinished(store, prefix):
        if found.begun > since or spared(found):
            continue
        try:
            last = last_sent(store, found)
        except NotFound:
            continue  # ended meanwhile
        if last <= since:
            yield found


def last_sent(store: Store, found: Unfinished) -> float:
    """Return the time of the last part of an upload (Unix, seconds), else of its start."""
    newest, behind = found.begun, 0
    while True:
        answer = store.client.call(
            "list_parts", found.key, UploadId=found.upload, PartNumberMarker=behind
        )
        for part in answer.get("Parts", []):
            newest = max(newest, part["LastModified"].timestamp())
        after = int(answer.get("NextPartNumberMarker") or 0)
        if not answer.get("IsTruncated") or after <= behind:
            return newest
        behind = after
