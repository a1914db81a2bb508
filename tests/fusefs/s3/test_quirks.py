"""What a store refuses or answers oddly, one by one; the profiles of whole stores are in
`test_stores`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from fusefs.errors import Exists, FsError, Stale, Unavailable, Unsupported
from fusefs.names.listing import Listing
from fusefs.objects import Headers
from fusefs.posix.dirstream import DOTS, DirStream
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.storefeatures import StoreFeature
from tests.fusefs.s3.conftest import MIB, Open
from tests.proxy.exchange import Exchange, on
from tests.proxy.faults import Status
from tests.stores.quirks import Quirk

CONFLICT = Status(409, "ConditionalRequestConflict")
WARNINGS = ("WARNING", "ERROR")


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings so far."""
    return [record.message for record in caplog.records if record.levelname in WARNINGS]


# -- headers that are refused --------------------------------------------------------------------


@pytest.mark.parametrize("quirk", [Quirk.CONDITIONS_501, Quirk.CONDITIONS_400])
def test_conditions_that_are_refused_are_left_out(
    quirky: Open, quirk: Quirk, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount says so, once for each, and asks no more."""
    fs = quirky(quirk)
    for name in ("a", "b"):
        fs.files.create(name, b"1")
        fs.files.append(name, b"2")
    assert [fs.store.contents.get(name) for name in ("a", "b")] == [b"12", b"12"]
    assert sorted(warned(caplog)) == [
        "this store has no If-Match on writes: of two writers the last one wins unnoticed",
        "this store has no If-None-Match on writes: of two writers the last one wins unnoticed",
    ]
    with fs.proxy.counting() as seen:
        fs.files.create("c", b"1")
    assert [(each.condition, each.status) for each in seen.of("PutObject")] == [(None, 200)]


@pytest.mark.parametrize("quirk", [Quirk.IGNORES_CONDITIONS, Quirk.COPY_CONDITIONS_501])
def test_no_version_is_deleted_where_it_could_be_another(quirky: Open, quirk: Quirk) -> None:
    """What a late request has made stays: somebody else may be replacing it just now."""
    fs = quirky(quirk)
    fs.files.create("a", b"1")
    store = fs.mounted.store
    with pytest.raises(Unsupported):
        store.delete_version("a", store.head("a").etag)
    assert fs.store.contents.get("a") == b"1"
    with fs.proxy.counting() as seen, pytest.raises(Unsupported):
        store.delete_version("a", store.head("a").etag)
    assert not seen.of("DeleteObject")


def test_one_version_is_deleted_by_its_etag(quirky: Open) -> None:
    """A store that is seen to compare is asked for nothing more."""
    fs = quirky()
    fs.files.create("a", b"1")
    store = fs.mounted.store
    with pytest.raises(Stale):
        store.delete_version("a", "0" * 32)
    with fs.proxy.counting() as seen:
        store.delete_version("a", store.head("a").etag)
    assert seen.operations == {"HeadObject": 1, "DeleteObject": 1}
    assert [page.key for page in store.list_page("").objects] == []


def test_a_refusal_of_one_header_is_none_of_another(quirky: Open) -> None:
    """A store without If-Match still keeps two from creating one file."""
    fs = quirky(Quirk.IF_MATCH_501)
    store = fs.mounted.store
    fs.files.create("a", b"1")
    assert not store.features.has(StoreFeature.PUT_IF_MATCH)
    fs.store.contents.put("b", b"theirs")
    with pytest.raises(FsError):
        store.put("b", b"ours", Headers(), IF_ABSENT)
    assert fs.store.contents.get("b") == b"theirs"


def test_a_vague_refusal_takes_no_condition_that_was_seen_to_work(quirky: Open) -> None:
    """A 400 may mean anything: the condition that keeps others' bytes isn't given up for it."""
    fs = quirky()
    fs.files.create("a", b"1")
    fs.proxy.inject(
        Status(400, "InvalidArgument"), lambda each: each.condition is not None, times=None
    )
    with pytest.raises(Unavailable):
        fs.files.append("a", b"2")
    assert fs.mounted.store.features.missing == []
    fs.proxy.heal()


@pytest.mark.parametrize("quirk", [Quirk.CHECKSUMS_400, Quirk.CHECKSUMS_501])
def test_checksums_that_are_refused_are_left_out(
    quirky: Open, quirk: Quirk, caplog: pytest.LogCaptureFixture
) -> None:
    """Of PUTs and of uploads; an MD5, which every store knows, protects what is sent."""
    fs = quirky(quirk)
    fs.files.create("large", bytes(11 * MIB))
    with fs.proxy.counting() as seen:
        fs.files.create("small", b"1")
        fs.files.patch("large", 6 * MIB, b"x")
    sent = [*seen.of("PutObject"), *seen.of("UploadPart")]
    assert {each.status for each in sent} == {200}
    assert all("content-md5" in each.headers for each in sent)
    assert warned(caplog) == ["this store refuses checksums: an MD5 is sent instead"]


def test_a_checksum_that_must_not_be_asked_for_is_asked_for_once(quirky: Open) -> None:
    """The GET of a small file asks for its checksum, where a store takes that."""
    fs = quirky(Quirk.CHECKSUM_MODE_400)
    fs.store.contents.put("a", b"1")
    fs.store.contents.put("b", b"2")
    assert fs.files.read("a") == b"1"
    with fs.proxy.counting() as seen:
        assert fs.files.read("b") == b"2"
    assert [each.status for each in seen.of("GetObject")] == [200]


# -- listings ------------------------------------------------------------------------------------


def test_a_listing_without_a_way_on_is_an_error(quirky: Open) -> None:
    """Never a short listing: EIO."""
    fs = quirky(Quirk.NO_TOKEN)
    for number in range(1001):
        fs.store.contents.put(f"d/{number:04}")
    with pytest.raises(Unavailable, match="a listing that ends here would be short"):
        fs.files.names("d")


def test_a_directory_that_can_not_be_listed_is_not_moved(quirky: Open) -> None:
    """`mv` fails and leaves every key where it was."""
    fs = quirky(Quirk.NO_TOKEN)
    for number in range(1001):
        fs.store.contents.put(f"d/{number:04}")
    before = fs.store.contents.keys()
    with pytest.raises(Unavailable):
        fs.files.rename("d", "e")
    assert fs.store.contents.keys() == before


# -- conflicts, overload, keys that end ----------------------------------------------------------


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_a_409_is_tried_again(quirky: Open, operation: str) -> None:
    """Another request on the key was under way; that is no conflict."""
    fs = quirky()
    conflicts = fs.proxy.inject(CONFLICT, on(operation, "f"), times=2)
    data = bytes(range(256)) * (24 << 10)
    fs.files.create("f", data if operation != "PutObject" else data[:100])
    assert conflicts.hits == 2
    assert fs.store.contents.get("f") in (data, data[:100])


def test_409s_without_end_are_no_file_that_exists(quirky: Open) -> None:
    """O_EXCL is EEXIST only where the file is there: else EIO, and the next try succeeds."""
    fs = quirky(retry_for=0.3)
    conflicts = fs.proxy.inject(CONFLICT, on("PutObject"), times=None)
    with pytest.raises(Unavailable):
        fs.files.create("f", b"", os.O_EXCL)
    with pytest.raises(Unavailable):
        fs.files.mkdir("f")
    conflicts.stop()
    fs.files.create("f", b"", os.O_EXCL)
    with pytest.raises(Exists):
        fs.files.create("f", b"", os.O_EXCL)


def test_429_waits_as_503_does(quirky: Open) -> None:
    """Cloudflare, OSS and gateways say it so."""
    fs = quirky()
    fs.store.contents.put("f", b"1")
    told = fs.proxy.inject(Status(429, "Throttled"), on("GetObject"), times=3)
    assert fs.files.read("f") == b"1"
    assert told.hits == 3


def test_a_head_that_is_refused_for_an_old_token_waits_for_new_keys(
    quirky: Open, tmp_path: Path
) -> None:
    """Its 400 has no body to say so; a GET says it."""
    fs = quirky()
    fs.store.contents.put("f", b"1")
    expired = fs.proxy.inject(Status(400, "ExpiredToken"), lambda _: True, times=None)
    renewal = threading.Timer(0.5, expired.stop)
    renewal.start()
    assert fs.mounted.store.head("f").size == 1
    renewal.join()


def test_a_head_that_is_refused_for_good_is_so_at_once(quirky: Open) -> None:
    """A 400 that isn't about keys isn't waited for."""
    fs = quirky()
    fs.store.contents.put("f", b"1")
    fs.proxy.inject(Status(400, "Whatever"), lambda _: True, times=None)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="Whatever"):
        fs.mounted.store.head("f")
    assert time.monotonic() - began < 5
    fs.proxy.heal()


# -- metadata of others --------------------------------------------------------------------------

UTF8 = "Grüße, Ångström €".encode().decode("latin-1")
LATIN1 = "Gr\xfc\xdfe"
RFC2047 = "=?UTF-8?B?R3LDvMOfZQ==?="


@pytest.mark.parametrize("text", [UTF8, LATIN1, RFC2047])
def test_metadata_of_others_survives(quirky: Open, text: str) -> None:
    """chmod, append, edit of a large file: the store is sent back the bytes it sent."""
    fs = quirky()
    fs.store.contents.put("small", b"1", {"author": text})
    fs.store.contents.put("large", bytes(12 * MIB), {"author": text})
    fs.files.chmod("small", 0o600)
    fs.files.append("small", b"2")
    fs.files.chmod("large", 0o600)
    fs.files.append("large", b"2")
    for key in ("small", "large"):
        stored = fs.store.contents.objects[key]
        assert stored.body.endswith(b"2")
        assert (stored.metadata["author"], stored.metadata["mode"]) == (text, "33152")


def test_metadata_of_others_survives_the_sdk(quirky: Open) -> None:
    """boto3 by itself would refuse it: it signs and sends the same bytes."""
    fs = quirky(direct=False)
    fs.store.contents.put("small", b"1", {"author": UTF8})
    fs.files.chmod("small", 0o600)
    assert fs.store.contents.objects["small"].metadata["author"] == UTF8


# -- copies --------------------------------------------------------------------------------------


def test_a_directory_whose_marker_can_not_be_copied_is_renamed(quirky: Open) -> None:
    """Its marker is made anew, with its attributes, and changed in place by chmod."""
    fs = quirky(Quirk.NO_MARKER_COPY)
    fs.files.mkdir("d")
    fs.files.chmod("d", 0o700)
    fs.files.create("d/f", b"1")
    fs.files.rename("d", "e")
    assert fs.store.contents.keys() == ["e/", "e/f"]
    assert fs.store.contents.objects["e/"].metadata["mode"] == str(0o40700)


def test_no_checksum_is_asked_for_where_parts_are_copied(quirky: Open) -> None:
    """SeaweedFS reads copied parts again for one, versitygw tells the source's and refuses it."""
    fs = quirky(Quirk.COPIED_PARTS_HAVE_SOURCES_CHECKSUM)
    fs.files.create("f", bytes(11 * MIB))
    with fs.proxy.counting() as seen:
        fs.files.patch("f", 6 * MIB, b"x")
    created, sent = seen.of("CreateMultipartUpload"), seen.of("UploadPart")
    assert "x-amz-checksum-algorithm" not in created[0].headers
    assert ["content-md5" in part.headers for part in sent] == [True]
    assert len(created) == 1
    assert fs.store.contents.get("f")[6 * MIB : 6 * MIB + 2] == b"x\0"


@pytest.mark.parametrize("quirk", [Quirk.CHECKSUMS_501, Quirk.CHECKSUMS_400])
def test_the_first_body_without_a_crc32_has_an_md5(quirky: Open, quirk: Quirk) -> None:
    """A store that refuses the one is sent the other at once: no body goes without any."""
    fs = quirky(quirk)
    fs.files.create("f", b"content")
    taken = [each for each in fs.proxy.requests.of("PutObject") if each.status == 200]
    assert ["content-md5" in each.headers for each in taken] == [True]


def test_parts_beside_copies_have_a_crc32_in_directory_buckets(quirky: Open) -> None:
    """They have no Content-MD5."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    fs.files.create("f", bytes(11 * MIB))
    with fs.proxy.counting() as seen:
        fs.files.patch("f", 6 * MIB, b"x")
    assert "x-amz-checksum-crc32" in seen.of("UploadPart")[0].headers


def test_an_upload_begun_ahead_is_begun_anew_where_it_is_refused(quirky: Open) -> None:
    """What was sent while the file was written can't be completed there: all is sent again."""
    fs = quirky(Quirk.COPIED_PARTS_HAVE_SOURCES_CHECKSUM)
    fs.files.create("f", bytes(11 * MIB))
    fs.files.append("f", b"x" * (16 * MIB))
    assert fs.store.contents.get("f") == bytes(11 * MIB) + b"x" * (16 * MIB)
    assert fs.store.contents.uploads == {}


# -- directory buckets ---------------------------------------------------------------------------


def operations(exchange: Exchange) -> str:
    """Return what a request asks for."""
    return exchange.operation


def test_a_file_is_renamed_in_one_step(quirky: Open) -> None:
    """RenameObject, and nothing else that changes; the file has its attributes and content."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    fs.files.create("a", b"content")
    fs.files.chmod("a", 0o600)
    with fs.proxy.counting() as seen:
        fs.files.rename("a", "b")
    changes = [each for each in map(operations, seen) if not each.startswith(("Head", "List"))]
    assert changes == ["RenameObject"]
    assert (fs.files.read("b"), fs.files.stat("b").mode & 0o777) == (b"content", 0o600)
    fs.files.create("c", b"other")
    with pytest.raises(Exists):
        fs.files.rename("b", "c", 1)  # RENAME_NOREPLACE
    fs.files.rename("b", "c")
    assert fs.store.contents.keys() == ["c"]


def test_a_rename_whose_answer_was_lost_is_done_once(quirky: Open) -> None:
    """The request is the same one, by its token."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    fs.files.create("a", b"content")
    fs.proxy.inject(Status(503, "SlowDown"), on("RenameObject"), times=1)
    fs.files.rename("a", "b")
    assert fs.store.contents.keys() == ["b"]
    tokens = {each.headers["x-amz-client-token"] for each in fs.proxy.requests.of("RenameObject")}
    assert len(tokens) == 1


def test_an_unsorted_directory_is_told_whole_and_in_order(quirky: Open) -> None:
    """Each name once, page after page, and again in the same order, as a next process needs it."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    names = [f"n{number:04}" for number in range(1100)]
    for name in names:
        fs.store.contents.put(f"d/{name}", name.encode())
    assert fs.files.names("d") == names


def test_an_unsorted_directory_goes_on_in_the_next_process(quirky: Open) -> None:
    """Behind the last name that was told: none is left out, none is told twice."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    names = [f"n{number:04}" for number in range(1100)]
    for name in names:
        fs.store.contents.put(f"d/{name}")

    def stream(told: dict[int, str]) -> DirStream:
        listing = Listing(fs.mounted.store, "d/")
        listing.load()
        return DirStream(lambda _: listing, told)

    first = stream({}).read(DOTS, 400)
    *_, cookie, key = first[-1]
    rest = stream({cookie: key}).read(cookie, 2000)
    assert [name for name, *_ in [*first, *rest]] == names


def test_no_session_is_asked_for_each_request(quirky: Open) -> None:
    """One CreateSession serves them all."""
    fs = quirky(Quirk.DIRECTORY_BUCKET)
    fs.files.create("f", b"1")
    with fs.proxy.counting() as seen:
        for number in range(5):
            fs.files.create(f"f{number}", b"1")
    assert all("session" not in each.query for each in seen)
