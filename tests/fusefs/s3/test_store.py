"""The S3 seam: error answers as our errors, broken connections, what is asked of a new object."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import errors
from fusefs.counters import Count
from fusefs.errors import FsError, SetupError
from fusefs.objects import Headers
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.errorcodes import BY_CODE, BY_STATUS, error_for
from fusefs.s3.newobjects import NewObjects
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.proxy.exchange import on
from tests.proxy.faults import (
    ACCESS_DENIED,
    SLOW_DOWN,
    Corrupt,
    Fault,
    LostAnswer,
    Reset,
    Status,
    WrongEtag,
    truncated,
)
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket, Endpoint

MiB = 1 << 20
Connect = Callable[..., Store]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Open stores whose credentials are the endpoint's."""
    made: list[Store] = []

    def build(bucket: str, endpoint: Endpoint, retries: int = 2) -> Store:
        for name, value in endpoint.credentials.environment().items():
            (tmp_path / name).write_text(value)
        settings = StoreSettings(
            bucket,
            endpoint.url,
            REGION,
            credentials_dir=tmp_path,
            retries=retries,
            retry_for=0.5,
            connect_timeout=2,
            read_timeout=5,
        )
        made.append(Store(settings))
        return made[-1]

    yield build
    for store in made:
        store.close()


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_an_error_code_goes_before_the_status(code: str, kind: type[FsError]) -> None:
    """Whatever status a store sends with it."""
    for status in (400, 404, 500):
        assert type(error_for(code, status, "GET s3://b/k", "why")) is kind


@pytest.mark.parametrize(("status", "kind"), BY_STATUS.items())
def test_a_status_speaks_for_answers_without_a_known_code(status: int, kind: type[FsError]) -> None:
    """HEAD has no body; other stores have codes of their own."""
    for code in ("", str(status), "SomethingNew"):
        assert type(error_for(code, status, "HEAD s3://b/k", "")) is kind


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *(("InternalError", 500), ("SlowDown", 503), ("ServiceUnavailable", 503), ("", 502)),
        *(("RequestTimeout", 400), ("", 0), ("RequestTimeTooSkewed", 400), ("", 599)),
    ],
)
def test_what_may_pass_is_an_io_error(code: str, status: int) -> None:
    """EIO: never ENOENT or EACCES, from which applications draw conclusions."""
    assert type(error_for(code, status, "PUT s3://b/k", "m")) in (
        errors.Unavailable,
        errors.AccessDenied if status in (401, 403) else errors.Unavailable,
    )


def test_a_bucket_that_is_gone_is_not_a_file_that_is_not_there() -> None:
    """Else a deleted bucket would look like an empty directory, and `rsync --delete` act on it."""
    error = error_for("NoSuchBucket", 404, "LIST s3://b/", "")
    assert type(error) is errors.Unavailable
    assert "bucket does not exist" in str(error)


def test_a_message_says_what_where_and_why() -> None:
    """Operation, bucket and key, code and the store's words."""
    told = str(error_for("AccessDenied", 403, "put_object s3://b/k", "not yours"))
    assert told == "put_object s3://b/k: AccessDenied: not yours"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (SLOW_DOWN, errors.Unavailable),
        (Status(500), errors.Unavailable),
        (ACCESS_DENIED, errors.AccessDenied),
        (Status(507, "XMinioStorageFull"), errors.NoSpace),
        (Status(501, "NotImplemented"), errors.Unsupported),
        (LostAnswer(), errors.Unavailable),
    ],
)
def test_a_refusal_of_the_store_is_our_error(
    bucket: Bucket, proxy: Proxy, connect: Connect, fault: Fault, kind: type[FsError]
) -> None:
    """After the SDK's own tries, with bucket and key in the message."""
    store = connect(bucket.name, proxy.endpoint)
    proxy.inject(fault, on("PutObject"), times=None)
    with pytest.raises(kind, match=f"s3://{bucket.name}/k"):
        store.put("k", b"x", Headers(), None)


def test_credentials_that_the_store_takes_no_longer_are_counted(
    bucket: Bucket, proxy: Proxy, connect: Connect
) -> None:
    """Once for each request that was given up for them; a missing right is another thing."""
    store = connect(bucket.name, proxy.endpoint)
    for fault, count in ((ACCESS_DENIED, 0), (Status(403, "InvalidAccessKeyId"), 1)):
        proxy.inject(fault, on("PutObject"), times=None)
        with pytest.raises(errors.AccessDenied):
            store.put("k", b"x", Headers(), None)
        assert store.counters.get(Count.LAPSED) == count
        proxy.heal()


def test_a_condition_that_does_not_hold_is_stale(bucket: Bucket, connect: Connect) -> None:
    """`*`: something is there. An ETag: something else is there. Of nothing there: NotFound."""
    store = connect(bucket.name, bucket.endpoint)
    etag = store.put("k", b"1", Headers(), IF_ABSENT)
    with pytest.raises(errors.Stale):
        store.put("k", b"2", Headers(), IF_ABSENT)
    assert store.put("k", b"3", Headers(), etag) != etag
    with pytest.raises(errors.Stale):
        store.put("k", b"4", Headers(), etag)
    with pytest.raises(errors.NotFound):
        store.head("absent")
    assert bucket.get("k") == b"3"


def test_a_store_that_is_away_is_an_io_error_until_it_is_back(
    bucket: Bucket, proxy: Proxy, connect: Connect
) -> None:
    """And how long it has been away is known without asking it."""
    store = connect(bucket.name, proxy.endpoint)
    store.list_page("")
    assert store.unreachable_for() == 0
    with proxy.refusing(), pytest.raises(errors.Unavailable):
        store.list_page("")
    assert store.unreachable_for() > 0
    store.list_page("")
    assert store.unreachable_for() == 0
    assert store.silent_for() < 5


@pytest.mark.parametrize("fault", [Reset(after=1000), truncated(1000), Reset(0)])
def test_a_body_that_breaks_is_asked_for_again(
    bucket: Bucket, proxy: Proxy, connect: Connect, fault: Fault
) -> None:
    """From where it broke, of the same version."""
    data = bytes(range(256)) * 4096
    etag = bucket.put("k", data).strip('"')
    store = connect(bucket.name, proxy.endpoint)
    proxy.inject(fault, on("GetObject"))
    view = bytearray(len(data) - 5)
    told: list[int] = []
    store.get_into("k", etag, 5, memoryview(view), told.append)
    assert view == data[5:]
    assert told == sorted(told)
    assert told[-1] == len(view)


@pytest.mark.parametrize("fault", [Reset(after=1000), truncated(1000), Reset(0)])
def test_a_first_body_that_breaks_is_asked_for_again(
    bucket: Bucket, proxy: Proxy, connect: Connect, fault: Fault
) -> None:
    """The GET that an open brings along is as patient as the others."""
    data = bytes(range(256)) * 256
    bucket.put("k", data)
    store = connect(bucket.name, proxy.endpoint)
    proxy.inject(fault, on("GetObject"))
    answer = store.get_start("k", len(data))
    assert answer is not None
    assert answer[1] == data


def test_a_range_that_is_a_whole_object_is_compared_with_its_checksum(
    bucket: Bucket, proxy: Proxy, connect: Connect
) -> None:
    """It comes without one, so the object is requested whole."""
    data = bytes(range(256)) * 4
    bucket.client.put_object(Bucket=bucket.name, Key="k", ChecksumAlgorithm="CRC32", Body=data)
    damage = proxy.inject(Corrupt(at=500), on("GetObject"), times=1)
    answer = connect(bucket.name, proxy.endpoint).get_start("k", 4096)
    assert answer is not None
    assert answer[1] == data
    assert damage.hits == 1


def test_an_object_that_is_gone_costs_one_request(
    bucket: Bucket, proxy: Proxy, connect: Connect
) -> None:
    """Its absence is an answer; nobody asks twice."""
    store = connect(bucket.name, proxy.endpoint)
    with proxy.counting() as seen, pytest.raises(errors.NotFound):
        store.get_start("absent", 10)
    assert len(seen) == 1


def test_bodies_that_break_always_are_an_io_error(
    bucket: Bucket, proxy: Proxy, connect: Connect
) -> None:
    """Not an exception of our own making that nobody knows."""
    etag = bucket.put("k", b"x" * 100_000).strip('"')
    store = connect(bucket.name, proxy.endpoint)
    proxy.inject(Reset(after=10), on("GetObject"), times=None)
    with pytest.raises(errors.Unavailable):
        store.get_into("k", etag, 0, memoryview(bytearray(100_000)), lambda _: None)
    with pytest.raises(errors.Unavailable):
        store.get_start("k", 100_000)


def test_another_version_is_stale(bucket: Bucket, proxy: Proxy, connect: Connect) -> None:
    """By the store's own word, and where it ignores the condition by the ETag that came."""
    etag = bucket.put("k", b"old").strip('"')
    store = connect(bucket.name, proxy.endpoint)
    proxy.inject(WrongEtag(), on("GetObject"))
    with pytest.raises(errors.Stale):
        store.get_into("k", etag, 0, memoryview(bytearray(3)), lambda _: None)
    bucket.put("k", b"new")
    with pytest.raises(errors.Stale):
        store.get_into("k", etag, 0, memoryview(bytearray(3)), lambda _: None)


def test_the_first_bytes_come_with_what_a_head_tells(bucket: Bucket, connect: Connect) -> None:
    """Size, ETag, metadata, type; nothing when it is still the version we have; an empty file."""
    etag = bucket.put("k", b"x" * 1000, {"mode": "33188"}, "text/x").strip('"')
    bucket.put("empty", b"")
    store = connect(bucket.name, bucket.endpoint)
    answer = store.get_start("k", 10)
    assert answer is not None
    info, head = answer
    assert (info.size, info.etag, head) == (1000, etag, b"x" * 10)
    assert info.headers == store.head("k").headers
    assert store.get_start("k", 10, unless=etag) is None
    empty = store.get_start("empty", 10)
    assert empty is not None
    assert (empty[0].size, empty[1]) == (0, b"")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "ours"}),
        ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "theirs"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "theirs"},
        ),
        ({"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms"}),
    ],
)
def test_an_object_keeps_its_own_encryption(own: dict[str, str], told: dict[str, str]) -> None:
    """Key and algorithm together: S3 refuses AES256 with a KMS key."""
    settings = StoreSettings("b", "http://127.0.0.1:1", REGION, sse="aws:kms", sse_kms_key="ours")
    arguments = NewObjects(settings).arguments(Headers({}, own))
    assert {name: value for name, value in arguments.items() if name.startswith("S")} == told


@pytest.mark.parametrize("bundle", ["", "/etc/ssl/certs/ca-certificates.crt"])
def test_settings_that_can_not_be_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: str
) -> None:
    """As the one line of a mount that can't start, with the bucket's name."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    if bundle:  # boto3 needn't look for it in the profile then
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    with pytest.raises(SetupError, match=r"bucket b: .*nobodys-profile"):
        Store(StoreSettings("b", profile="nobodys-profile"))
    with pytest.raises(SetupError, match="credentials directory"):
        Store(StoreSettings("b", credentials_dir=tmp_path))


def test_without_credentials_the_message_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EACCES, and a sentence for the log."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = Store(StoreSettings("b", url, REGION))
        with pytest.raises(errors.AccessDenied, match="no AWS credentials found"):
            store.list_page("")
        store.close()
