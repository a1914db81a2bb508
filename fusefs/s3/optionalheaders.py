"""Requests with headers that not every store takes: sent without those that it refuses.

A refusal says rarely which header it means. So one is left out after the other, then all: what was
left out of the first request that the store looks at was the reason, and is remembered in
`storefeatures`. A 400 may mean anything: so all is asked once more first, and conditions that a
store was seen to honour are left out after a 501 only. Any thread.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fusefs.errors import FsError, NotFound, Stale, Unavailable
from fusefs.s3 import checksums
from fusefs.s3.client import Client, refuses_header
from fusefs.s3.partbody import Body, rewind
from fusefs.s3.retry import RetryBudget
from fusefs.s3.storefeatures import CONDITIONS, StoreFeature, StoreFeatures

Headers = Mapping[StoreFeature, Mapping[str, Any]]


class OptionalHeaders:
    """Asks one store."""

    def __init__(self, client: Client, features: StoreFeatures) -> None:
        self._client = client
        self._abilities = features

    def call(
        self,
        operation: str,
        key: str,
        optional: Headers,
        budget: RetryBudget | None = None,
        /,
        **arguments: Any,
    ) -> Any:
        """Run an operation with the `optional` arguments that its store takes."""
        wanted = self._abilities.usable(optional)
        try:
            return self._client.call(operation, key, budget, **_merged(arguments, wanted, ()))
        except FsError as error:
            if not wanted or not refuses_header(error):
                raise
            return self._without(operation, key, wanted, arguments, error)

    def send(
        self,
        operation: str,
        key: str,
        body: Body,
        optional: Mapping[StoreFeature, Mapping[str, Any]],
        checked: bool = True,
        **arguments: Any,
    ) -> Any:
        """Send a body with its CRC32, which the store compares; with its MD5 to one that can't."""
        if not checked or not self._abilities.has(StoreFeature.CHECKSUMS_SENT):
            return self.call(operation, key, optional, Body=body, **arguments)
        checksum = checksums.crc32_of(body)
        sent = {StoreFeature.CHECKSUMS_SENT: {"ChecksumCRC32": checksum}, **optional}
        answer = self.call(operation, key, sent, Body=body, **arguments)
        if answer.get("ChecksumCRC32", checksum) != checksum:
            where = f"{self._client.where}/{key}"
            raise Unavailable(f"{operation} {where}: the store has other bytes than sent")
        return answer

    def _without(
        self,
        operation: str,
        key: str,
        wanted: Headers,
        arguments: Mapping[str, Any],
        refusal: FsError,
    ) -> Any:
        for left_out in self._rounds(wanted, refusal):
            rewind(arguments.get("Body"))
            try:
                answer = self._client.call(operation, key, **_merged(arguments, wanted, left_out))
            except (Stale, NotFound):  # an answer to the headers that are left
                self._lose(left_out, refusal)
                raise
            except FsError as error:
                if not refuses_header(error):
                    raise
            else:
                self._lose(left_out, refusal)
                return answer
        raise refusal

    def _rounds(self, wanted: Headers, refusal: FsError) -> list[tuple[StoreFeature, ...]]:
        """Return what to leave out, in turn."""
        vague = not refuses_header(refusal, certain=True)
        kept = CONDITIONS if vague and self._abilities.proven else frozenset()
        names = [name for name in wanted if name not in kept]
        several = [tuple(names)] if len(names) > 1 else []
        once_more: list[tuple[StoreFeature, ...]] = [()] if vague else []
        return [*once_more, *((name,) for name in names), *several]

    def _lose(self, features: Sequence[StoreFeature], reason: FsError) -> None:
        for feature in features:
            self._abilities.lose(feature, reason)


def _merged(
    arguments: Mapping[str, Any], wanted: Headers, left_out: Sequence[StoreFeature]
) -> dict[str, Any]:
    """Return the arguments with what is wanted; a body without a CRC32 has its MD5."""
    merged = dict(arguments)
    for name, values in wanted.items():
        if name not in left_out:
            merged |= values
    if "Body" in merged and "ChecksumCRC32" not in merged:
        merged["ContentMD5"] = checksums.md5_of(merged["Body"])
    return merged
