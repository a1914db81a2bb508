"""Does the store honour conditions on writes? Asked once, at the mount.

AWS does since 2024, MinIO and SeaweedFS do; others ignore them, and the mount then works without,
after one warning. The questions are asked with a wrong ETag of a key nobody has, so that a store
that honours them stores nothing.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from fusefs import versions
from fusefs.errors import AccessDenied, FsError, NotFound, Stale
from fusefs.objects import Headers
from fusefs.s3.store import Store

log = logging.getLogger(__name__)

FOUND = "conditions.json"
VERSION = 1  # of that file; one without a version is of this form
NEVER = "00000000000000000000000000000000"


def probe_conditions(store: Store, prefix: str) -> None:
    """Set `store.conditional` and `store.conditional_complete` to what the store can do."""
    key = f"{prefix}.s3mount-probe-{uuid4().hex}"
    try:
        store.conditional = _put_refused(store, key)
        store.conditional_complete = store.conditional and _complete_refused(store, key)
    except AccessDenied as error:
        log.warning(
            "no right to write: changes will fail",
            extra={"bucket": store.bucket, "error": str(error)},
        )
        return
    except FsError as error:
        log.warning("could not probe the store", extra={"error": str(error)})
        return
    if not store.conditional:
        log.warning(
            "this store ignores conditional writes: of two writers the last one wins unnoticed",
            extra={"bucket": store.bucket},
        )
    elif not store.conditional_complete:
        log.warning(
            "this store ignores conditions on multipart uploads: of two writers of a large file "
            "the last one wins unnoticed",
            extra={"bucket": store.bucket},
        )


def _put_refused(store: Store, key: str) -> bool:
    try:
        store.put(key, b"", Headers(), NEVER)
    except (Stale, NotFound):
        return True
    with suppress(FsError):
        store.delete(key)
    return False


def _complete_refused(store: Store, key: str) -> bool:
    upload = store.create_upload(key, Headers())
    try:
        part = store.upload_part(key, upload, 1, b"s3mount")
        store.complete_upload(key, upload, [part], NEVER)
    except (Stale, NotFound):
        with suppress(FsError):
            store.abort_upload(key, upload)
        return True
    with suppress(FsError):
        store.delete(key)
    return False


def keep_conditions(store: Store, directory: Path) -> None:
    """Write down what was found out, for a process that goes on with the mount."""
    told = {"version": VERSION, "put": store.conditional, "complete": store.conditional_complete}
    (directory / FOUND).write_text(json.dumps(told), encoding="utf-8")


def recall_conditions(store: Store, directory: Path) -> None:
    """Take over what a former process found out; conditions are used where nobody knows.

    Nor are findings of an unknown version; the next start that asks the store replaces them.
    """
    try:
        told = json.loads((directory / FOUND).read_text(encoding="utf-8"))
        versions.check(told, (VERSION,))
        store.conditional = bool(told["put"])
        store.conditional_complete = bool(told["complete"])
    except (OSError, ValueError, KeyError) as error:
        log.warning("what the store can do is not known", extra={"error": str(error)})
