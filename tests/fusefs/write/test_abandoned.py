"""Unfinished uploads that a mount which died has left in the bucket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from fusefs.s3.store import Store
from fusefs.write.abandoned import AbandonedUploads
from tests.fusefs.workbench import Workbench
from tests.proxy.exchange import on
from tests.proxy.faults import ACCESS_DENIED
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

NO_AGE, A_DAY = -5.0, 86_400.0  # the store's clock has whole seconds


def begin(bucket: Bucket, key: str) -> str:
    """Begin an upload as a mount that dies does, with one part."""
    client, name = bucket.client, bucket.name
    upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
    client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    return str(upload)


def abandoned(bench: Workbench, age: float, prefix: str = "") -> AbandonedUploads:
    """Return what looks for them in a workbench's bucket."""
    return AbandonedUploads(bench.store, prefix, bench.staging.directory, age)


def test_what_no_journal_knows_is_aborted(bench: Workbench, bucket: Bucket) -> None:
    """Under the prefix only, and not what a staged file goes on with."""
    for key in ("p/lost", "p/deep/lost", "elsewhere"):
        begin(bucket, key)
    Path(bench.staging.directory, "1.log").write_text(
        f'{{"upload": "{begin(bucket, "p/ours")}"}}\n'
    )
    assert abandoned(bench, NO_AGE, "p/").abort() == 2
    assert sorted(bucket.uploads()) == ["elsewhere", "p/ours"]


def test_what_is_younger_is_left(bench: Workbench, bucket: Bucket) -> None:
    """Another mount may be at it."""
    begin(bucket, "young")
    assert abandoned(bench, A_DAY).abort() == 0
    assert bucket.uploads() == ["young"]


class Old:
    """A store whose one upload is old; `part` is when its last part came, seconds ago."""

    def __init__(self, part: float) -> None:
        self.client = self.uploads = self
        self.aborted: list[str] = []
        self._part = datetime.now(UTC) - timedelta(seconds=part)

    def call(self, operation: str, key: str | None, **_: object) -> dict[str, Any]:
        """Answer as boto3 does."""
        if operation == "list_parts":
            return {"Parts": [{"LastModified": self._part}], "IsTruncated": False}
        begun = datetime.now(UTC) - timedelta(days=9)
        return {"Uploads": [{"Key": "log", "UploadId": "1", "Initiated": begun}]}

    def server_time(self) -> float:
        """Return the time here."""
        return datetime.now(UTC).timestamp()

    def abort(self, key: str, upload: str) -> None:
        """Note it."""
        self.aborted.append(key)


@pytest.mark.parametrize(("part", "aborted"), [(60.0, []), (2 * A_DAY, ["log"])])
def test_an_old_one_that_still_gets_parts_is_left(
    tmp_path: Path, part: float, aborted: list[str]
) -> None:
    """A file that is written for days has an old upload: its last part tells."""
    store = Old(part)
    AbandonedUploads(cast(Store, store), "", tmp_path, A_DAY).abort()
    assert store.aborted == aborted


def test_no_right_to_look_is_no_error(bench: Workbench, bucket: Bucket, proxy: Proxy) -> None:
    """A mount without that right works as any other; a lifecycle rule does it then."""
    begin(bucket, "lost")
    proxy.inject(ACCESS_DENIED, on("ListMultipartUploads"))
    assert abandoned(bench, NO_AGE).abort() == 0
    assert bucket.uploads() == ["lost"]
