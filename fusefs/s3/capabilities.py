"""Does the store honour conditions on writes? Asked once, at the mount.

AWS does since 2024, MinIO and SeaweedFS do; others ignore them, and the mount then works without,
after one warning. The questions are asked with a wrong ETag of a key nobody has, so that a store
that honours them stores nothing. Whether If-None-Match is refused is found out by its first use.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from fusefs import versions
from fusefs.errors import AccessDenied, FsError, NotFound, Stale
from fusefs.objects import Headers
from fusefs.s3.abilities import Ability
from fusefs.s3.store import Store

log = logging.getLogger(__name__)

FOUND = "conditions.json"
VERSION = 2  # of that file; version 1, or none, told of two conditions only
NEVER = "00000000000000000000000000000000"


def probe_conditions(store: Store, prefix: str) -> None:
    """Take away from `store.abilities` the conditions that the store refuses or ignores."""
    key = f"{prefix}.s3mount-probe-{uuid4().hex}"
    try:
        store.abilities.proven = _put_honours(store, key)
        if store.abilities.has(Ability.PUT_IF_MATCH):
            _probe_complete(store, key)
    except AccessDenied as error:
        log.warning(
            "no right to write: changes will fail",
            extra={"bucket": store.bucket, "error": str(error)},
        )
    except FsError as error:
        log.warning("could not probe the store", extra={"error": str(error)})


def _put_honours(store: Store, key: str) -> bool:
    """Say whether If-Match keeps a PUT from being done; one that is refused is lost by asking."""
    try:
        store.put(key, b"", Headers(), NEVER)
    except (Stale, NotFound):
        return True
    with suppress(FsError):
        store.delete(key)
    store.abilities.lose(
        Ability.PUT_IF_MATCH,
        "it stored what shouldn't have been",
        "this store ignores conditional writes: of two writers the last one wins unnoticed",
    )
    return False


def _probe_complete(store: Store, key: str) -> None:
    upload = store.create_upload(key, Headers())
    try:
        part = store.upload_part(key, upload, 1, b"s3mount")
        store.complete_upload(key, upload, [part], NEVER)
    except (Stale, NotFound):
        with suppress(FsError):
            store.abort_upload(key, upload)
        return
    with suppress(FsError):
        store.delete(key)
    store.abilities.lose(
        Ability.COMPLETE_CONDITION,
        "it stored what shouldn't have been",
        "this store ignores conditions on multipart uploads: of two writers of a large file "
        "the last one wins unnoticed",
    )


def keep_conditions(store: Store, directory: Path) -> None:
    """Write down what was found out, for a process that goes on with the mount."""
    told = {
        "version": VERSION,
        "missing": store.abilities.missing,
        "proven": store.abilities.proven,
    }
    (directory / FOUND).write_text(json.dumps(told), encoding="utf-8")


def recall_conditions(store: Store, directory: Path) -> None:
    """Take over what a former process found out; conditions are used where nobody knows.

    Nor are findings of an unknown version; the next start that asks the store replaces them.
    """
    try:
        told = json.loads((directory / FOUND).read_text(encoding="utf-8"))
        if versions.check(told, (1, VERSION)) == 1:
            found = {
                Ability.PUT_IF_MATCH: told["put"],
                Ability.COMPLETE_CONDITION: told["complete"],
            }
            store.abilities.recall(ability.value for ability, can in found.items() if not can)
        else:
            store.abilities.recall(str(name) for name in told["missing"])
            store.abilities.proven = bool(told["proven"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("what the store can do is not known", extra={"error": str(error)})
