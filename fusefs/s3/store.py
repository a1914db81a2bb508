"""The S3 requests of a mount: our objects and conditions in and out. One instance, one bucket.

It knows requests, not files: no POSIX meaning, no caching, no algorithms of many requests (those
are in `uploader` and `objectmoves`). Every method is one S3 request (plus `client`'s retries) and
may be called from any thread. A multipart upload's requests are in `uploads`; `conditions` says
what a `condition` may be.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from fusefs import errors
from fusefs.counters import Count, Counters
from fusefs.objects import Headers, ObjectInfo, Page
from fusefs.s3 import checksums
from fusefs.s3.client import LOST, Client, drain, status_of
from fusefs.s3.conditions import IF_ABSENT, condition_for, write_condition
from fusefs.s3.etags import opaque, quoted
from fusefs.s3.fastpath import Begun, Unclear
from fusefs.s3.laterequests import LateRequests
from fusefs.s3.newobjects import NewObjects
from fusefs.s3.optionalheaders import OptionalHeaders
from fusefs.s3.partbody import Body
from fusefs.s3.refusal import Refusal
from fusefs.s3.responses import info_of, page_of
from fusefs.s3.retry import BodyAttempts, BrokenBody
from fusefs.s3.settings import StoreSettings
from fusefs.s3.storefeatures import StoreFeature, StoreFeatures
from fusefs.s3.transfers import Transfers
from fusefs.s3.uploads import Uploads

# Who asks for so few keys wants to know whether there are any, and never goes on.
PEEK = 2
HEAD = "head_object"


class Store:
    """One bucket."""

    def __init__(self, settings: StoreSettings, counters: Counters | None = None) -> None:
        self.settings = settings
        self.counters = counters or Counters()
        self.bucket = settings.bucket
        self.features = StoreFeatures(settings.bucket)
        self.client = Client(settings, self.counters)
        self.changes = self.client.changes
        self.late = LateRequests(self.head, self.delete_version)
        self._optional = OptionalHeaders(self.client, self.features)
        self._new = NewObjects(settings)
        self.transfers = Transfers()
        parts = (self.counters, self.client, self._optional, self.features, self.transfers)
        self.uploads = Uploads(settings, *parts)

    # -- reading ---------------------------------------------------------------------------------

    def head(self, key: str) -> ObjectInfo:
        """HEAD: size, ETag, time and headers of `key`."""
        return info_of(key, self.client.call(HEAD, key))

    def begin_head(self, key: str) -> Begun | None:
        """Send a HEAD without waiting for its answer; None where that can't be done."""
        return self.client.begin(HEAD, key)

    def end_head(self, key: str, begun: Begun) -> ObjectInfo:
        """Return the object of a HEAD whose answer is there.

        Raises NotFound, and Unclear where it has to be sent again, by `head`.
        """
        counters = self.counters
        try:
            answer = begun.answer()
        except Refusal as refusal:
            if refusal.status != 404:
                raise Unclear(str(refusal)) from refusal
            counters.request(HEAD, errors.NotFound.__name__)
            self.client.presence.answered(refusal.headers)
            raise errors.NotFound(f"{key}: no such object") from None
        took = time.monotonic() - begun.sent
        counters.first_bytes.note(HEAD, took)
        counters.answers.note(HEAD, took)
        counters.request(HEAD, "ok")
        self.client.presence.answered(answer["ResponseMetadata"]["HTTPHeaders"])
        return info_of(key, answer)

    def list_page(
        self,
        prefix: str,
        delimiter: str = "/",
        token: str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page:
        """LIST one page of keys under `prefix`, behind another's `token` or `after` a key.

        `delimiter=""` lists all levels. `after` works where keys are `sorted`.
        """
        behind = {"StartAfter": after} if token is None else {"ContinuationToken": token}
        given = {"Prefix": prefix, "MaxKeys": limit, "Delimiter": delimiter or None, **behind}
        arguments = {name: value for name, value in given.items() if value is not None}
        answer = self.client.call("list_objects_v2", None, **arguments)
        page = page_of(answer)
        if answer.get("IsTruncated") and limit > PEEK and page.next_token in (None, "", token):
            raise errors.Unavailable(
                f"LIST s3://{self.bucket}/{prefix}: the store says there are more keys and not "
                "where; a listing that ends here would be short"
            )
        return page

    def get_start(
        self, key: str, length: int, unless: str | None = None, whole: bool = False
    ) -> tuple[ObjectInfo, bytes] | None:
        """GET the first `length` bytes, or all; None when the object still has ETag `unless`.

        With `whole` the object may be no longer: then the store sends its checksum, which it has
        for whole objects only, and a damaged answer is asked for again. The connection of one that
        is longer is closed behind the first `length` bytes. Without, one that is no longer after
        all is requested a second time, whole.
        """
        arguments: dict[str, Any] = {"Range": f"bytes=0-{length - 1}"}
        if whole:
            arguments = {}
        if unless is not None:
            arguments["IfNoneMatch"] = quoted(unless)
        tries = BodyAttempts(self.settings.retries, self.client.budget())
        while True:
            try:
                start = self._start(key, length, arguments, whole, tries)
            except BrokenBody as broken:
                tries.wait_after(broken)
                continue
            if not whole and start is not None and 0 < start[0].size <= length:
                return self.get_start(key, length, whole=True)
            return start

    def _start(
        self, key: str, length: int, arguments: Mapping[str, Any], whole: bool, tries: BodyAttempts
    ) -> tuple[ObjectInfo, bytes] | None:
        asked = {StoreFeature.CHECKSUMS_ASKED: {"ChecksumMode": "ENABLED"}} if whole else {}
        try:
            answer = self._optional.call("get_object", key, asked, tries.budget, **arguments)
        except errors.FsError as error:
            if status_of(error) == 304:
                return None
            if status_of(error) == 416:  # an empty object has no first byte
                return self.head(key), b""
            raise
        info = info_of(key, answer)
        total = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else info.size
        body = bytearray(min(info.size, length))
        self._drain(answer, memoryview(body), key, lambda _: None)
        if size == len(body) and not checksums.agree(answer, body):
            raise BrokenBody(f"GET s3://{self.bucket}/{key}: the content is not its checksum's", 0)
        return ObjectInfo(key, size, info.etag, info.modified, info.headers), bytes(body)

    def get_into(
        self,
        key: str,
        etag: str,
        offset: int,
        view: memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        """GET `len(view)` bytes at `offset` of exactly this version into `view`.

        `arrived` is called with the bytes so far. A connection that breaks in mid-body is asked
        again for the rest. Raises Stale when the object was replaced, Unavailable when retries are
        used up.
        """
        have = 0
        tries = BodyAttempts(self.settings.retries, self.client.budget())
        while have < len(view):
            try:
                answer = self.client.call(
                    "get_object",
                    key,
                    tries.budget,
                    Range=f"bytes={offset + have}-{offset + len(view) - 1}",
                    IfMatch=quoted(etag),
                )
                if opaque(answer["ETag"]) != etag:
                    raise errors.Stale(f"GET s3://{self.bucket}/{key}: replaced while being read")
                self._drain(answer, view[have:], key, partial(_from, arrived, have))
            except BrokenBody as broken:
                have += broken.received
                tries.wait_after(broken)
            else:
                return

    def _drain(
        self, answer: Mapping[str, Any], view: memoryview, key: str, arrived: Callable[[int], None]
    ) -> None:
        received = 0
        try:
            drain(answer, view, f"GET s3://{self.bucket}/{key}", arrived)
            self.client.has_all(answer)
            received = len(view)
        except BrokenBody as broken:
            received = broken.received
            raise
        finally:
            self.counters.add(Count.RECEIVED, received)

    def tags(self, key: str) -> str:
        """Return the tags of `key` in the form of the Tagging header (URL query), or ''."""
        answer = self.client.call("get_object_tagging", key)
        return urlencode([(tag["Key"], tag["Value"]) for tag in answer["TagSet"]])

    # -- writing ---------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body | memoryview, headers: Headers, condition: str | None
    ) -> str:
        """PUT a whole object; return its ETag. Raises Stale when the condition doesn't hold."""
        data = bytes(body) if isinstance(body, memoryview) else body
        self.counters.add(Count.SENT, len(data))
        transfer = self.transfers.whole(key, len(data))
        self.late.begin_making(key)
        answer: Any = None
        try:
            answer = self._optional.send(
                "put_object", key, data, write_condition(condition), **self._new.arguments(headers)
            )
        finally:
            self.late.end_making(key, made=answer is not None)
            self.transfers.end(transfer)
        if LOST in answer:
            self.late.expect(key, len(data), headers.metadata)
        return opaque(answer["ETag"])

    def copy(
        self,
        source: str,
        etag: str | None,
        key: str,
        headers: Headers | None,
        condition: str | None = None,
        placed: Mapping[str, str] | None = None,
    ) -> tuple[str, float]:
        """Copy server side (at most 5 GiB); `headers` replaces all headers, None keeps them.

        Storage class and encryption aren't kept by S3: `placed` says those of the source. Returns
        ETag and LastModified of the copy. `etag` pins the source.
        """
        arguments: dict[str, Any] = {"CopySource": {"Bucket": self.bucket, "Key": source}}
        if etag is not None:
            arguments["CopySourceIfMatch"] = quoted(etag)
        if headers is not None:
            arguments |= {"MetadataDirective": "REPLACE", **self._new.arguments(headers)}
        else:
            if self.settings.storage_class:
                arguments["StorageClass"] = self.settings.storage_class
            arguments |= self._new.placing(placed or {})
        # A copy onto itself is already pinned by its source.
        pinned = None if source == key else condition
        optional = condition_for(StoreFeature.COPY_CONDITION, pinned)
        with self.late.making(key):
            answer = self._optional.call("copy_object", key, optional, **arguments)
        result = answer["CopyObjectResult"]
        return opaque(result["ETag"]), result["LastModified"].timestamp()

    @property
    def renames(self) -> bool:
        """Whether the store has RenameObject: directory buckets do, and no other."""
        return self.settings.directory_bucket

    @property
    def sorted(self) -> bool:
        """Whether a LIST comes in the order of keys; `start-after` makes sense only then."""
        return not self.settings.directory_bucket

    def rename(self, source: str, etag: str, key: str, condition: str | None) -> None:
        """RenameObject: one step for everybody; the object stays what it is, its ETag too.

        `condition` is `IF_ABSENT` or None. The token lets a lost answer be asked for again.
        """
        arguments = {"DestinationIfNoneMatch": "*"} if condition == IF_ABSENT else {}
        with self.changes.under_way(source), self.late.making(key):
            self.client.call(
                "rename_object",
                key,
                RenameSource=quote(source),
                SourceIfMatch=quoted(etag),
                ClientToken=uuid4().hex,
                **arguments,
            )

    def delete(self, key: str, etag: str | None = None) -> None:
        """DELETE `key`, with `etag` only that version; deleting what isn't there succeeds.

        With an `etag` some stores raise NotFound for what isn't there, others Stale.
        """
        self._optional.call(
            "delete_object", key, condition_for(StoreFeature.DELETE_CONDITION, etag)
        )

    def delete_version(self, key: str, etag: str) -> None:
        """DELETE `key` if it is version `etag`; Stale or NotFound if not.

        Raises Unsupported where the store might delete another one.
        """
        if not self.features.prove(StoreFeature.DELETE_CONDITION):
            raise errors.Unsupported(f"{self.bucket}: the store deletes no version by its ETag")
        self.client.call("delete_object", key, IfMatch=quoted(etag))

    def remove(self, key: str, etag: str | None) -> None:
        """DELETE `key` for good, whatever it is by now; one request where it is version `etag`.

        A DELETE without a condition that is carried out late, after its sender was killed, would
        remove the next object of the key.
        """
        try:
            self.delete(key, etag)
        except errors.NotFound:
            pass
        except errors.Stale:
            self.delete(key)
        self.late.removed(key)

    # -- the store itself ------------------------------------------------------------------------

    def server_time(self) -> float:
        """Return the store's clock, in seconds."""
        return self.client.presence.server_time()

    def unreachable_for(self) -> float:
        """Return the seconds since the store first failed to answer, 0 while it answers."""
        return self.client.presence.unreachable_for()

    def silent_for(self) -> float:
        """Return the seconds since the store last answered anything."""
        return self.client.presence.silent_for()

    def close(self) -> None:
        """Close the connections."""
        self.late.close()
        self.client.close()


def _from(arrived: Callable[[int], None], base: int, count: int) -> None:
    arrived(base + count)
