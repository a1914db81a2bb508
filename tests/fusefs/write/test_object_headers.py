"""What travels with an object survives each rewrite of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fusefs.attributes import write
from fusefs.names.renamejournal import RenameJournal
from fusefs.objects import Headers
from fusefs.write.filecontent import FileContent
from tests.fusefs.unmounted import Unmounted
from tests.fusefs.workbench import MIB, Workbench, posix
from tests.fusefs.write.test_uploader import content
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

KEPT = {
    "ContentType": "text/x-special",
    "ContentEncoding": "identity",
    "CacheControl": "max-age=60",
    "ContentDisposition": "inline",
    "ContentLanguage": "de",
}


def put(bucket: Bucket, size: int) -> None:
    """Store an object as another tool would, with all that can be set."""
    bucket.client.put_object(
        Bucket=bucket.name,
        Key="f",
        Body=content(size),
        Metadata={"mine": "stays"},
        Tagging="team=blue&cost=1",
        **KEPT,
    )


def is_kept(bucket: Bucket, key: str) -> bool:
    """Say whether headers, foreign metadata and tags are those of `put`."""
    head: dict[str, Any] = bucket.head(key)
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
    told = {(tag["Key"], tag["Value"]) for tag in tags}
    same = {name: head.get(name) for name in KEPT} == KEPT
    return (
        same and head["Metadata"]["mine"] == "stays" and told == {("team", "blue"), ("cost", "1")}
    )


@pytest.mark.parametrize("size", [100, 12 * MIB])
def test_a_changed_object_keeps_them(bench: Workbench, bucket: Bucket, size: int) -> None:
    """One PUT or an upload of parts: type, encoding, caching, tags and metadata stay."""
    put(bucket, size)
    body = bench.open("f")
    body.write(size, b"more")
    body.commit()
    assert bucket.get("f") == content(size) + b"more"
    assert is_kept(bucket, "f")
    body.write(0, b"again")
    body.commit()
    assert is_kept(bucket, "f")


def test_a_truncated_object_keeps_them(bench: Workbench, bucket: Bucket) -> None:
    """O_TRUNC is a change of content, not another object."""
    put(bucket, 12 * MIB)
    body = bench.open("f")
    body.resize(0)
    body.write(0, b"new")
    body.commit()
    assert bucket.get("f") == b"new"
    assert is_kept(bucket, "f")


def test_changed_attributes_keep_them(bench: Workbench, bucket: Bucket) -> None:
    """chmod: one copy onto itself, with everything else as it was."""
    put(bucket, 100)
    info = bench.store.head("f")
    headers = write(replace(posix(), mode=0o100600), info.headers or pytest.fail("no headers"))
    bench.uploader.copy(info, "f", headers, None)
    assert bucket.metadata("f")["mode"] == str(0o100600)
    assert is_kept(bucket, "f")


def test_a_rename_keeps_them(bench: Workbench, bucket: Bucket) -> None:
    """Of a file and of the directory it is in."""
    put(bucket, 100)
    mover = bench.mover
    mover.move(bench.store.head("f"), "old/f", None)
    mover.move_all(RenameJournal.begin(bench.journals, "old/", "new/"), lambda _: None)
    assert is_kept(bucket, "new/f")


def test_a_new_object_has_the_type_of_its_suffix(bench: Workbench, bucket: Bucket) -> None:
    """As web servers and s3fs guess it."""
    for name, kind in (("a.html", "text/html"), ("b", "application/octet-stream")):
        body: FileContent = bench.new(name)
        body.commit()
        assert bucket.head(name)["ContentType"] == kind


def test_a_new_object_has_the_settings_of_the_mount(
    tmp_path: Path, proxy: Proxy, bucket: Bucket
) -> None:
    """Storage class, encryption and ACL are asked for with each new object."""
    asked = {"storage_class": "STANDARD_IA", "acl": "private"}
    with Unmounted(bucket, tmp_path, proxy.endpoint, **asked) as unmounted:
        unmounted.mounted.store.put("f", b"", Headers(), None)
    [seen] = proxy.requests.of("PutObject")
    assert seen.headers["x-amz-storage-class"] == "STANDARD_IA"
    assert seen.headers["x-amz-acl"] == "private"


def test_a_renamed_object_is_kept_as_it_was(lenient_bucket: Bucket, tmp_path: Path) -> None:
    """Storage class and encryption, which S3 forgets in a plain copy: of a directory the class."""
    kept = {"StorageClass": "STANDARD_IA", "ServerSideEncryption": "AES256"}
    for key in ("f", "old/f"):
        lenient_bucket.client.put_object(Bucket=lenient_bucket.name, Key=key, **kept)
    with Workbench(lenient_bucket, tmp_path) as bench:
        mover = bench.mover
        mover.move(bench.store.head("f"), "g", None)
        mover.move_all(RenameJournal.begin(bench.journals, "old/", "new/"), lambda _: None)
    assert {name: lenient_bucket.head("g").get(name) for name in kept} == kept
    assert lenient_bucket.head("new/f")["StorageClass"] == "STANDARD_IA"
