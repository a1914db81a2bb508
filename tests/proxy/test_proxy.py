"""The proxy is believed by many tests: what it counts and breaks is checked here with boto3."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest

from tests.proxy.exchange import on
from tests.proxy.faults import (
    SLOW_DOWN,
    Corrupt,
    LostAnswer,
    Reset,
    ResetUpload,
    Stall,
    StalledBody,
    Status,
    WrongEtag,
    truncated,
)
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket, StoreError
from tests.servers.seaweed import SUCCESSOR

MIB = 1024 * 1024


@pytest.fixture
def seen(bucket: Bucket, proxy: Proxy) -> Bucket:
    """The bucket as a client of the proxy sees it."""
    return Bucket(bucket.name, proxy.endpoint, proxy.endpoint.client())


def test_names_counts_and_measures_what_passes(bucket: Bucket, seen: Bucket, proxy: Proxy) -> None:
    """Operations, keys and body sizes are those of the requests; content arrives whole."""
    with proxy.counting() as counted:
        seen.put("a b/ü'\n", b"x" * 3 * MIB)
        assert seen.get("a b/ü'\n") == b"x" * 3 * MIB
        assert seen.keys() == ["a b/ü'\n"]
    assert counted.operations == {"PutObject": 1, "GetObject": 1, "ListObjectsV2": 1}
    assert {exchange.key for exchange in counted} == {"a b/ü'\n", ""}
    assert counted.of("PutObject").uploaded == 3 * MIB
    assert counted.of("GetObject").downloaded == 3 * MIB
    assert bucket.get("a b/ü'\n") == b"x" * 3 * MIB


def test_names_every_step_of_a_multipart_upload_with_copies(seen: Bucket, proxy: Proxy) -> None:
    """The requests of an append by server-side copy are told apart."""
    seen.put("old", b"o" * 5 * MIB)
    target = {"Bucket": seen.name, "Key": "new"}
    with proxy.counting() as counted:
        upload = seen.client.create_multipart_upload(**target)["UploadId"]
        source = {"Bucket": seen.name, "Key": "old"}
        copy = seen.client.upload_part_copy(
            **target, UploadId=upload, PartNumber=1, CopySource=source
        )
        part = seen.client.upload_part(**target, UploadId=upload, PartNumber=2, Body=b"tail")
        etags = [copy["CopyPartResult"]["ETag"], part["ETag"]]
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
        seen.client.complete_multipart_upload(
            **target, UploadId=upload, MultipartUpload={"Parts": parts}
        )
    names = ["CreateMultipartUpload", "UploadPartCopy", "UploadPart", "CompleteMultipartUpload"]
    assert [exchange.operation for exchange in counted] == names
    assert seen.get("new") == b"o" * 5 * MIB + b"tail"


def test_shows_preconditions_ranges_and_copies(seen: Bucket, proxy: Proxy) -> None:
    """The headers that carry a guarantee are there to be asserted."""
    etag = seen.put("k", b"0123456789")
    where = {"Bucket": seen.name, "Key": "k"}
    seen.client.put_object(**where, Body=b"9876543210", IfMatch=etag)
    seen.client.get_object(**where, Range="bytes=2-5")
    seen.client.copy_object(Bucket=seen.name, Key="copy", CopySource=where)
    put, get, copy = proxy.requests[1:]
    assert put.condition == f"If-Match: {etag}"
    assert get.byte_range == (2, 5)
    assert copy.copy_source == f"{seen.name}/k"
    assert put.access_key == seen.endpoint.credentials.access_key


@pytest.mark.parametrize("fault", [Status(), SLOW_DOWN, ResetUpload(10)])
def test_a_failed_upload_changes_nothing(
    bucket: Bucket, seen: Bucket, proxy: Proxy, fault: Status
) -> None:
    """Refusals and broken uploads are reported to the client and never reach the store."""
    bucket.put("k", b"old")
    injection = proxy.inject(fault, on("PutObject", "k"), times=None)
    with pytest.raises(StoreError):
        seen.put("k", b"new" * 1000)
    assert injection.hits == 2, "the client's two attempts"
    assert bucket.get("k") == b"old"


def test_a_lost_answer_is_a_done_deed(bucket: Bucket, seen: Bucket, proxy: Proxy) -> None:
    """The store has the object though the client was told of a broken connection."""
    proxy.inject(LostAnswer(), on("PutObject"), times=None)
    with pytest.raises(StoreError):
        seen.put("k", b"new")
    assert bucket.get("k") == b"new"


@pytest.mark.parametrize("fault", [Reset(100_000), truncated(100_000)])
def test_a_broken_download_is_noticed(
    bucket: Bucket, seen: Bucket, proxy: Proxy, fault: Reset
) -> None:
    """The client gets fewer bytes than were announced and an error."""
    bucket.put("k", b"x" * MIB)
    proxy.inject(fault, on("GetObject"))
    body = seen.client.get_object(Bucket=seen.name, Key="k")["Body"]
    with pytest.raises((*StoreError, OSError)):
        body.read()
    assert [exchange.downloaded for exchange in proxy.requests] == [100_000]
    assert seen.get("k") == b"x" * MIB, "the fault was for one time"


def test_lies_about_etag_and_content(bucket: Bucket, seen: Bucket, proxy: Proxy) -> None:
    """A wrong ETag and a flipped byte reach the client as if they were true."""
    etag = bucket.put("k", b"abc")
    proxy.inject(WrongEtag(), on("HeadObject"))
    assert seen.etag("k") != etag
    assert seen.etag("k") == etag
    proxy.inject(Corrupt(at=1), on("GetObject"))
    ranged = seen.client.get_object(Bucket=seen.name, Key="k", Range="bytes=0-2")
    assert ranged["Body"].read() == b"a" + bytes([ord("b") ^ 0xFF]) + b"c"


@pytest.mark.parametrize("fault", [Stall(0.5), StalledBody(0.5, after=10)])
def test_stalls(bucket: Bucket, seen: Bucket, proxy: Proxy, fault: Stall) -> None:
    """A stall takes its time and loses nothing."""
    bucket.put("k", b"x" * 1000)
    proxy.inject(fault, on("GetObject"))
    began = monotonic()
    assert seen.get("k") == b"x" * 1000
    assert monotonic() - began >= 0.5


def test_healing_ends_stalls(bucket: Bucket, seen: Bucket, proxy: Proxy) -> None:
    """What stalls goes on at once."""
    bucket.put("k", b"v")
    proxy.inject(Stall(50), on("GetObject"))
    with ThreadPoolExecutor(1) as pool:
        began = monotonic()
        reading = pool.submit(seen.get, "k")
        sleep(0.1)
        proxy.heal()
        assert reading.result() == b"v"
    assert monotonic() - began < 10


def test_refuses_connections_for_a_while(seen: Bucket, proxy: Proxy) -> None:
    """While refusing nobody gets in, on open connections neither; afterwards all is well."""
    seen.put("k", b"v")
    with proxy.refusing():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(proxy.endpoint.url.rpartition(":")[2])))
        with pytest.raises(StoreError):
            seen.get("k")
    assert seen.get("k") == b"v"


def test_rejects_one_key_and_takes_its_successor(seen: Bucket, proxy: Proxy) -> None:
    """Expired credentials are refused with the error S3 gives, others go through."""
    seen.put("k", b"v")
    proxy.reject(seen.endpoint.credentials.access_key)
    with pytest.raises(StoreError, match="ExpiredToken"):
        seen.get("k")
    successor = type(seen.endpoint)(proxy.endpoint.url, SUCCESSOR)
    assert Bucket(seen.name, successor, successor.client()).get("k") == b"v"


def test_delays_every_request(seen: Bucket, proxy: Proxy) -> None:
    """Latency is added to each request."""
    proxy.latency = 0.2
    began = monotonic()
    seen.put("k", b"v")
    assert 0.2 <= monotonic() - began < 2
