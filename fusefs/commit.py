"""Making an object of a changed file: one PUT, or an upload of sent and copied parts.

It knows requests and their order; whose file it is, and what happens after a failure, is `body`'s.
Any thread; holds no lock. Parts run on the shared pool, so the memory of all commits together is
at most `parallel` parts.
"""

import logging
import mimetypes
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace

from . import attributes
from .attributes import DIRECTORY_TYPE
from .errors import FsError, NotFound
from .objects import Headers, ObjectInfo
from .plan import MAX_PART, MiB, Piece, PlanSettings, pieces
from .ranges import RangeSet
from .staged import Record
from .store import Part, Store

log = logging.getLogger(__name__)

Fill = Callable[[int, memoryview], None]


@dataclass(frozen=True, slots=True)
class Committed:
    """What is in S3 now; `content` is the whole of it where it passed through memory at once."""

    info: ObjectInfo
    content: bytes | None = None


class Committer:
    """Sends changed files to one store."""

    def __init__(self, store: Store, pool: Executor, settings: PlanSettings) -> None:
        self.store = store
        self.settings = settings
        self._pool = pool

    def send(self, record: Record, dirty: RangeSet, fill: Fill) -> Committed:
        """Upload a file as `record` says, under its condition.

        `fill(offset, view)` gives bytes of the file as it shall be. Raises Stale when the condition
        doesn't hold; after any error nothing of the upload is visible.
        """
        headers = self.headers_for(record)
        if record.size <= self.settings.threshold:
            content = bytearray(record.size)
            fill(0, memoryview(content))
            body = bytes(content)
            etag = self.store.put(record.key, body, headers, record.condition)
            return Committed(self._info(record, etag, headers), body)
        base_size = record.base.size if record.base is not None else 0
        plan = pieces(record.size, base_size, dirty, self.settings)
        etag = self._upload(record, headers, plan, fill)
        return Committed(self._info(record, etag, headers))

    def headers_for(self, record: Record) -> Headers:
        """Return the headers the object gets: what it had, its attributes, its tags, its type."""
        source = record.base.key if record.base is not None else None
        return self.complete(record.key, self.attributes_of(record), source)

    @staticmethod
    def attributes_of(record: Record) -> Headers:
        """Return a record's headers with its attributes in the metadata."""
        if record.posix is None:
            return record.headers
        return attributes.write(record.posix, record.headers)

    def complete(self, key: str, headers: Headers, source: str | None) -> Headers:
        """Add what a rewrite would lose: the tags, which only their count is told of in a HEAD."""
        system = dict(headers.system)
        if int(system.pop("TagCount", "0")) and source is not None:
            system["Tagging"] = self.store.tags(source)
        if "ContentType" not in system:
            system["ContentType"] = content_type(key)
        return replace(headers, system=system)

    def _info(self, record: Record, etag: str, headers: Headers) -> ObjectInfo:
        return ObjectInfo(
            record.key,
            record.size,
            etag,
            self.store.server_time(),
            replace(
                headers,
                system={name: value for name, value in headers.system.items() if name != "Tagging"}
                | (
                    {"TagCount": record.headers.system["TagCount"]}
                    if "TagCount" in record.headers.system
                    else {}
                ),
            ),
        )

    def _upload(self, record: Record, headers: Headers, plan: list[Piece], fill: Fill) -> str:
        upload = self.store.create_upload(record.key, headers)
        try:
            futures = [
                self._pool.submit(self._part, record, upload, number, piece, fill)
                for number, piece in enumerate(plan, 1)
            ]
            parts = _all(futures)
            return self.store.complete_upload(record.key, upload, parts, record.condition)
        except BaseException:
            self._abort(record.key, upload)
            raise

    def _part(self, record: Record, upload: str, number: int, piece: Piece, fill: Fill) -> Part:
        if piece.copied:
            assert record.base is not None  # noqa: S101 - a plan copies from a base only
            return self.store.copy_part(
                record.key,
                upload,
                number,
                record.base.key,
                record.base.etag,
                piece.start,
                piece.end,
            )
        body = bytearray(piece.end - piece.start)
        fill(piece.start, memoryview(body))
        return self.store.upload_part(record.key, upload, number, bytes(body))

    def copy(
        self, source: ObjectInfo, key: str, headers: Headers | None, condition: str | None
    ) -> tuple[str, float]:
        """Copy server side whatever the size; as `Store.copy`, above 5 GiB in parts."""
        if headers is not None:
            headers = self.complete(key, headers, source.key)
        if source.key.endswith("/") and not source.size:
            return self._copy_marker(source, key, headers, condition)
        if source.size <= MAX_PART:
            return self.store.copy(source.key, source.etag, key, headers, condition)
        if headers is None:
            headers = self.complete(
                key, self.store.head(source.key).headers or Headers(), source.key
            )
        # A copy of itself must still be the version it was copied from.
        record = Record(
            key, source.etag if key == source.key else condition, source, source.size, headers
        )
        plan = pieces(source.size, source.size, RangeSet(), self.settings)
        etag = self._upload(record, headers, plan, _nothing)
        return etag, self.store.server_time()

    def _copy_marker(
        self, source: ObjectInfo, key: str, headers: Headers | None, condition: str | None
    ) -> tuple[str, float]:
        """Copy a directory's marker; some stores list markers that they can't copy."""
        try:
            return self.store.copy(source.key, None, key, headers, condition)
        except NotFound:
            headers = headers or source.headers or Headers(system={"ContentType": DIRECTORY_TYPE})
            return self.store.put(key, b"", headers, condition), self.store.server_time()

    def _abort(self, key: str, upload: str) -> None:
        try:
            self.store.abort_upload(key, upload)
        except FsError as error:
            log.warning(
                "an unfinished upload stays in the bucket; a lifecycle rule removes it",
                extra={"key": key, "upload": upload, "error": str(error)},
            )


def content_type(key: str) -> str:
    """Return the media type of a new object by its suffix, as s3fs and web servers do."""
    return mimetypes.guess_type(key, strict=False)[0] or "application/octet-stream"


def _all(futures: list[Future[Part]]) -> list[Part]:
    """Wait for all parts, even after a failure: none may go on behind an abort."""
    wait(futures)
    return [future.result() for future in futures]


def _nothing(offset: int, view: memoryview) -> None:
    """A plan of copies alone asks for no bytes."""


__all__ = ["Committed", "Committer", "MiB", "content_type"]
