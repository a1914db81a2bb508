"""Making an object of a changed file: one PUT, or an upload of sent and copied parts.

It knows requests and their order; whose file it is, and what happens after a failure, is in
`filecontent`.

Any thread; holds no lock. Parts run on the shared pool, so the memory of all commits together is
at most `parallel` parts; parts that are copied need none and have a pool of their own.
"""

import logging
import mimetypes
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from fusefs import attributes
from fusefs.attributes import DIRECTORY_TYPE
from fusefs.errors import AccessDenied, FsError, NotFound, Stale, Unsupported
from fusefs.objects import Headers, ObjectInfo
from fusefs.s3.client import refuses_header, status_of
from fusefs.s3.partbody import PartBody
from fusefs.s3.store import Store
from fusefs.s3.storefeatures import StoreFeature
from fusefs.s3.uploads import UploadedPart
from fusefs.write.multipart import MultipartUpload
from fusefs.write.ranges import RangeSet
from fusefs.write.staged import Record
from fusefs.write.uploadplan import MAX_PART, Changed, MiB, Piece, PlanSettings, laid, pieces

log = logging.getLogger(__name__)

IN_MEMORY = 64 * MiB  # parts above it aren't held whole
SMALL = 256 << 10  # bytes that are read once rather than to hash and again to send
# How stores refuse to copy an object whose key ends in a slash; versitygw: 400
# DirectoryObjectContainsData, SeaweedFS: 404.
NOT_COPIED = frozenset({400, 404, 405, 501})
UNKNOWN_TYPE = "application/octet-stream"
MARKER = Headers(system={"ContentType": DIRECTORY_TYPE})

Result = TypeVar("Result")


def _nowhere(start: int, end: int) -> int | None:
    """Tell that no file has the bytes of a range."""


@dataclass(frozen=True, slots=True)
class FileBytes:
    """The bytes of a file that is to be sent: `fill(offset, view)` reads them.

    `file(start, end)` returns the descriptor of a file that has just those bytes at their offsets,
    None where there is none: they needn't be read to be sent.
    """

    fill: Callable[[int, memoryview], None]
    file: Callable[[int, int], int | None] = _nowhere


@dataclass(frozen=True, slots=True)
class Committed:
    """What is in S3 now; `content` is the whole of it where it passed through memory at once."""

    info: ObjectInfo
    content: bytes | None = None


class Uploader:
    """Sends changed files to one store.

    `stores_attributes`: whether attributes are kept in object metadata. `overwrites`: whether the
    later of two writers wins where it can.
    """

    def __init__(
        self,
        store: Store,
        pool: Executor,
        settings: PlanSettings,
        copies: Executor | None = None,
        *,
        stores_attributes: bool = True,
        overwrites: bool = False,
    ) -> None:
        self.store = store
        self.settings = settings
        self._pool = pool
        self._copies = copies or pool
        self.stores_attributes = stores_attributes
        self.overwrites = overwrites

    def url(self, key: str) -> str:
        """Return where an object is, for messages."""
        return f"s3://{self.store.bucket}/{key}"

    def send(
        self,
        record: Record,
        changed: Changed,
        data: FileBytes,
        outgoing: MultipartUpload | None = None,
    ) -> Committed:
        """Upload a file as `record` says, under its condition.

        `data` are the bytes of the file as it shall be. `outgoing` is an upload that has some of
        its parts already; it is used up. Raises Stale when the condition doesn't hold;
        after any error nothing of the upload is visible.
        """
        if outgoing is not None:
            try:
                return self._finish(record, changed, data, outgoing)
            except FsError as error:
                if not refuses_header(error) and not isinstance(error, Unsupported):
                    raise
                log.info("an upload that was begun ahead is refused", extra={"error": str(error)})
                self.abort(outgoing.key, outgoing.upload)
        headers = self.headers_for(record)
        same = changed.copies.whole(record.size)
        if same is not None:
            etag, _ = self.copy(same, record.key, headers, record.condition)
            return Committed(self._info(record, etag, headers))
        if record.size <= self.settings.threshold:
            return self._put(record, headers, data)
        etag = self._upload(record, headers, numbered(pieces(changed, self.settings)), data)
        return Committed(self._info(record, etag, headers))

    def _put(self, record: Record, headers: Headers, data: FileBytes) -> Committed:
        """Send a small file whole; its content is returned where no file of ours has all of it."""
        file = data.file(0, record.size)
        body = _body(data, 0, record.size, file)
        etag = self.store.put(record.key, body, headers, record.condition)
        content = bytes(body) if isinstance(body, bytearray) and file is None else None
        return Committed(self._info(record, etag, headers), content)

    def _finish(
        self, record: Record, changed: Changed, data: FileBytes, outgoing: MultipartUpload
    ) -> Committed:
        """Send what an upload lacks, complete it, and correct the attributes it began with.

        What the application set while the upload ran (owner, mode, times) costs one copy of the
        object onto itself: S3 can't change the metadata of an upload. That only its writing moved
        the mtime isn't worth it; the caller lets `record` say what the upload says.
        """
        began = replace(record, posix=outgoing.posix if record.posix is not None else None)
        self.recall(outgoing)
        plan = numbered(laid(changed.spans(0, changed.size), outgoing.grid.size))
        etag = self._complete(began, outgoing.upload, plan, data, dict(outgoing.parts))
        info = self._info(record, etag, self.headers_for(began))
        if began == record:
            return Committed(info)
        headers = self.headers_for(record)
        etag, _ = self.copy(info, record.key, headers, None)
        return Committed(self._info(record, etag, headers))

    def recall(self, outgoing: MultipartUpload) -> None:
        """Go on with an upload as it was begun, maybe by a former process: with CRC32s or MD5s."""
        if not outgoing.checked or any(part.crc32 is None for part in outgoing.parts.values()):
            self.store.uploads.without_checksums(outgoing.upload)

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
        """Add what a rewrite would lose: the tags, of which a HEAD returns only the count."""
        system = dict(headers.system)
        if int(system.pop("TagCount", "0")) and source is not None:
            system["Tagging"] = self.store.tags(source)
        if "ContentType" not in system:
            system["ContentType"] = content_type(key)
        return Headers(headers.metadata, system)

    def _info(self, record: Record, etag: str, headers: Headers) -> ObjectInfo:
        if "Tagging" in headers.system or "TagCount" in record.headers.system:
            system = {name: value for name, value in headers.system.items() if name != "Tagging"}
            if "TagCount" in record.headers.system:
                system["TagCount"] = record.headers.system["TagCount"]
            headers = Headers(headers.metadata, system)
        return ObjectInfo(record.key, record.size, etag, self.store.server_time(), headers)

    def _upload(
        self, record: Record, headers: Headers, plan: Mapping[int, Piece], data: FileBytes | None
    ) -> str:
        copies = any(piece.source is not None for piece in plan.values())
        upload = self.store.uploads.create(record.key, headers, copies)
        self.prepare(record)
        try:
            return self._complete(record, upload, plan, data, {})
        except BaseException:
            self.abort(record.key, upload)
            raise

    def _complete(
        self,
        record: Record,
        upload: str,
        plan: Mapping[int, Piece],
        data: FileBytes | None,
        sent: dict[int, UploadedPart],
    ) -> str:
        """Send the pieces of `plan` that aren't among `sent`, by number, and complete."""
        futures = [
            self._pool_of(piece).submit(self._piece, record, upload, number, piece, data)
            for number, piece in plan.items()
            if number not in sent
        ]
        made = {part.number: part for part in _all(futures)}
        parts = [made.get(number) or sent[number] for number in sorted(plan)]
        with self.store.late.making(record.key):
            return self.store.uploads.complete(record.key, upload, parts, record.condition)

    def _pool_of(self, piece: Piece) -> Executor:
        return self._pool if piece.source is None else self._copies

    def _piece(
        self, record: Record, upload: str, number: int, piece: Piece, data: FileBytes | None
    ) -> UploadedPart:
        """Make one part; without `data` there are no bytes to send in place of a copy."""
        source = piece.source
        if source is not None and self.store.features.has(StoreFeature.PART_COPY):
            try:
                return self.store.uploads.copy_part(
                    record.key,
                    upload,
                    number,
                    source.info.key,
                    source.info.etag,
                    piece.start + source.shift,
                    piece.end + source.shift,
                )
            except Unsupported as error:
                if not refuses_header(error):
                    raise
                self.store.features.lose(StoreFeature.PART_COPY, error)
        if data is None:
            raise Unsupported(f"{record.key}: more than 5 GiB, and the store can't copy parts")
        return self.part(record.key, upload, number, piece.start, piece.end, data)

    def prepare(self, record: Record) -> None:
        """Have the store asked what it honours while parts are on their way, not behind them."""
        if record.condition is not None:
            with suppress(FsError):  # the mount has ended
                self._copies.submit(self.store.features.ask, StoreFeature.COMPLETE_CONDITION)

    def part(
        self, key: str, upload: str, number: int, start: int, end: int, data: FileBytes
    ) -> UploadedPart:
        """Send one part; what is in a file, or too large for memory, is read as it goes."""
        most = min(IN_MEMORY, self.settings.part_size)
        body = _body(data, start, end, data.file(start, end), most)
        return self.store.uploads.part(key, upload, number, body)

    def submit(self, work: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Run something that sends a part, when its turn comes."""
        return self._pool.submit(work, *arguments)

    def copy(
        self, source: ObjectInfo, key: str, headers: Headers | None, condition: str | None
    ) -> tuple[str, float]:
        """Copy server side whatever the size; as `Store.copy`, above 5 GiB in parts."""
        if headers is not None:
            headers = self.complete(key, headers, source.key)
        if source.key.endswith("/") and not source.size:
            return self._copy_marker(source, key, headers, condition)
        if source.size <= MAX_PART:
            return self.store.copy(source.key, source.etag, key, headers, condition, source.placed)
        if headers is None:
            headers = self.complete(
                key, self.store.head(source.key).headers or Headers(), source.key
            )
        # A copy of itself must still be the version it was copied from.
        record = Record(
            key, source.etag if key == source.key else condition, source, source.size, headers
        )
        plan = numbered(pieces(Changed(source.size, source, RangeSet()), self.settings))
        etag = self._upload(record, headers, plan, None)
        return etag, self.store.server_time()

    def _copy_marker(
        self, source: ObjectInfo, key: str, headers: Headers | None, condition: str | None
    ) -> tuple[str, float]:
        """Copy a directory's marker; some stores list markers that they can't copy."""
        try:
            return self.store.copy(source.key, None, key, headers, condition)
        except FsError as error:
            if isinstance(error, (AccessDenied, Stale)) or status_of(error) not in NOT_COPIED:
                raise
            headers = headers or self._marker_headers(source)
            return self.store.put(key, b"", headers, condition), self.store.server_time()

    def _marker_headers(self, source: ObjectInfo) -> Headers:
        try:
            return source.headers or self.store.head(source.key).headers or MARKER
        except NotFound:
            return MARKER

    def abort(self, key: str, upload: str) -> None:
        """Throw an upload away; a failure is only said."""
        try:
            self.store.uploads.abort(key, upload)
        except NotFound:
            return
        except FsError as error:
            log.warning(
                "an unfinished upload stays in the bucket; a lifecycle rule removes it",
                extra={"key": key, "upload": upload, "error": str(error)},
            )


def _body(
    data: FileBytes, start: int, end: int, file: int | None, most: int = IN_MEMORY
) -> bytearray | PartBody:
    """Return a range as the body of a request; held in memory if it is small, or costs requests.

    `file` is the descriptor of the file that has just these bytes at their offsets, None for none.
    """
    size = end - start
    if size > most or (size > SMALL and file is not None):
        return PartBody(data.fill, start, end, file)
    body = bytearray(size)
    # Less than all of it is there where it was cut meanwhile: `fill` says what takes its place.
    if file is None or os.preadv(file, [body], start) < size:
        data.fill(start, memoryview(body))
    return body


def numbered(plan: Iterable[Piece]) -> dict[int, Piece]:
    """Return pieces by the number of their part."""
    return dict(enumerate(plan, 1))


def content_type(key: str) -> str:
    """Return the media type of a new object by its suffix, as s3fs and web servers do."""
    _, dot, suffix = key[key.rfind("/") + 1 :].partition(".")
    return _type_of(suffix) if dot else UNKNOWN_TYPE


@lru_cache(1024)
def _type_of(suffix: str) -> str:
    return mimetypes.guess_type(f"name.{suffix}", strict=False)[0] or UNKNOWN_TYPE


def _all(futures: list[Future[UploadedPart]]) -> list[UploadedPart]:
    """Wait for all parts; after a failure begin no more, but let none go on behind an abort."""
    if any(future.exception() for future in wait(futures, return_when=FIRST_EXCEPTION).done):
        for future in futures:
            future.cancel()
    done = wait(futures).done
    for future in done:
        if not future.cancelled():
            future.result()
    return [future.result() for future in futures]


__all__ = ["Committed", "MiB", "Uploader", "content_type"]
