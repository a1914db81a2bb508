"""Multipart uploads: create, parts sent and copied, complete, abort.

It knows requests, not files: which parts a file needs, and when, is said in the wing `write`.
Every method is one S3 request (plus `client`'s retries) and may be called from any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fusefs import errors
from fusefs.counters import Count, Counters
from fusefs.objects import Headers
from fusefs.s3 import checksums
from fusefs.s3.client import Client
from fusefs.s3.conditions import condition_for
from fusefs.s3.etags import opaque, quoted
from fusefs.s3.newobjects import NewObjects
from fusefs.s3.optionalheaders import OptionalHeaders
from fusefs.s3.partbody import Body
from fusefs.s3.settings import StoreSettings
from fusefs.s3.storefeatures import StoreFeature, StoreFeatures
from fusefs.s3.transfers import Transfers


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A finished part of a multipart upload; `crc32` as S3 writes it, base64 of big-endian."""

    number: int
    etag: str
    crc32: str | None = None


class Uploads:
    """The multipart uploads of one bucket."""

    def __init__(
        self,
        settings: StoreSettings,
        counters: Counters,
        client: Client,
        optional: OptionalHeaders,
        features: StoreFeatures,
        transfers: Transfers,
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._client = client
        self._optional = optional
        self._abilities = features
        self._transfers = transfers
        self._new = NewObjects(settings)
        self._unchecked: set[str] = set()  # uploads under way whose parts have no CRC32

    def create(self, key: str, headers: Headers, copies: bool = False) -> str:
        """Start a multipart upload; return its id. `copies`: some parts will be copied.

        An upload with a checksum needs one of each copied part. SeaweedFS reads a part two to four
        times for it, versitygw returns a wrong one. Without, sent parts carry an MD5, which
        directory buckets lack.
        """
        checked = self._abilities.has(StoreFeature.CHECKSUMS_SENT)
        if copies and not self._settings.directory_bucket:
            checked = False
        optional = {StoreFeature.CHECKSUMS_SENT: {"ChecksumAlgorithm": "CRC32"}} if checked else {}
        answer = self._optional.call(
            "create_multipart_upload", key, optional, **self._new.arguments(headers)
        )
        upload = str(answer["UploadId"])
        self._transfers.begin(key, upload)
        if not checked or not self._abilities.has(StoreFeature.CHECKSUMS_SENT):
            self._unchecked.add(upload)
        return upload

    def checked(self, upload: str) -> bool:
        """Say whether the parts of an upload have a CRC32 each."""
        return upload not in self._unchecked

    def without_checksums(self, upload: str) -> None:
        """Parts of this upload, which a former process began, have no checksums."""
        self._unchecked.add(upload)

    def part(self, key: str, upload: str, number: int, body: Body) -> UploadedPart:
        """Upload part `number` (from 1)."""
        self._counters.add(Count.SENT, len(body))
        checked = upload not in self._unchecked
        answer = self._optional.send(
            "upload_part", key, body, {}, checked, UploadId=upload, PartNumber=number
        )
        self._transfers.part(key, upload, len(body))
        return UploadedPart(
            number, opaque(answer["ETag"]), answer.get("ChecksumCRC32") if checked else None
        )

    def copy_part(
        self, key: str, upload: str, number: int, source: str, etag: str, start: int, end: int
    ) -> UploadedPart:
        """Make part `number` of bytes `start` to `end` (exclusive) of `source` at `etag`.

        Raises Unsupported where the store can't; for an upload with checksums, too, where it
        returns the source's in place of the part's.
        """
        answer = self._client.call(
            "upload_part_copy",
            key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": self._settings.bucket, "Key": source},
            CopySourceRange=f"bytes={start}-{end - 1}",
            CopySourceIfMatch=quoted(etag),
        )["CopyPartResult"]
        named = {name for name in answer if name.startswith("Checksum")}
        checksum = None if upload in self._unchecked else answer.get("ChecksumCRC32")
        alien = named and not checksums.is_crc32(checksum)
        if alien and upload not in self._unchecked:
            raise errors.Unsupported(
                f"s3://{self._settings.bucket}/{key}: UploadPartCopy returned "
                f"{checksum or ', '.join(sorted(named))} as a part's CRC32"
            )
        self._transfers.part(key, upload, end - start)
        return UploadedPart(number, opaque(answer["ETag"]), checksum)

    def complete(
        self, key: str, upload: str, parts: Sequence[UploadedPart], condition: str | None
    ) -> str:
        """Finish a multipart upload; return the object's ETag."""
        listed = [
            {"PartNumber": part.number, "ETag": quoted(part.etag)}
            | ({"ChecksumCRC32": part.crc32} if part.crc32 else {})
            for part in parts
        ]
        answer = self._optional.call(
            "complete_multipart_upload",
            key,
            condition_for(StoreFeature.COMPLETE_CONDITION, condition),
            UploadId=upload,
            MultipartUpload={"Parts": listed},
        )
        self._transfers.end(upload)
        self._unchecked.discard(upload)
        return opaque(answer["ETag"])

    def abort(self, key: str, upload: str) -> None:
        """Throw away an unfinished multipart upload and its parts; not worth waiting long for."""
        self._transfers.end(upload)
        self._client.call("abort_multipart_upload", key, self._client.budget(5.0), UploadId=upload)
        self._unchecked.discard(upload)
