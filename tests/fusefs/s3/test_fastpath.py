"""Small requests past boto3: the same answers, and boto3 wherever it isn't plain."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import __version__, errors
from fusefs.objects import Headers
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.credentials import Keys
from fusefs.s3.fastpath import FAILURES_MOST, REST, FastPath, Unclear, Wire
from fusefs.s3.settings import USER_AGENT, StoreSettings
from fusefs.s3.store import Store
from tests.proxy.exchange import Exchange, on
from tests.proxy.faults import SLOW_DOWN, Fault, LostAnswer, SlowUpload, Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket

MIB = 1 << 20
Connect = Callable[..., Store]
HEADERS = Headers(
    {"mode": "33188", "foreign": "a  b"},
    {"ContentType": "text/plain", "CacheControl": "max-age=3", "ContentEncoding": "gzip"},
)


@pytest.fixture
def connect(bucket: Bucket, tmp_path: Path) -> Iterator[Connect]:
    """Open stores of the test's bucket."""
    made: list[Store] = []

    def build(proxy: Proxy | None = None, *, direct: bool = True, timeout: float = 10.0) -> Store:
        endpoint = proxy.endpoint if proxy else bucket.endpoint
        for name, value in endpoint.credentials.environment().items():
            (tmp_path / name).write_text(value)
        settings = StoreSettings(
            bucket.name,
            endpoint.url,
            REGION,
            credentials_dir=tmp_path,
            retry_for=1,
            connect_timeout=timeout,
            read_timeout=10 * timeout,
            direct=direct,
        )
        made.append(Store(settings))
        made[-1].list_page("")
        return made[-1]

    yield build
    for store in made:
        store.close()


def agent(exchange: Exchange) -> str:
    """Return who sent a request."""
    return {name.lower(): value for name, value in exchange.headers.items()}["user-agent"]


@pytest.mark.parametrize("key", ["f", "a b/c+d", "ü/%41", "x=1&y?#", "new\nline"])
def test_it_finds_what_boto3_finds(bucket: Bucket, connect: Connect, key: str) -> None:
    """Objects made either way look the same either way."""
    plain, direct = connect(direct=False), connect()
    etag = direct.put(key, b"content", HEADERS, None)
    assert direct.head(key) == plain.head(key)
    assert direct.head(key).etag == etag
    assert direct.get_start(key, 4) == plain.get_start(key, 4)
    assert direct.get_start(key, 100, whole=True) == plain.get_start(key, 100, whole=True)
    assert direct.list_page("") == plain.list_page("")
    direct.copy(key, etag, "copy", Headers({"mode": "1"}, {"ContentType": "a/b"}))
    assert plain.head("copy").headers == Headers({"mode": "1"}, {"ContentType": "a/b"})
    direct.delete(key)
    assert key not in bucket


def test_a_listing_page_by_page(bucket: Bucket, connect: Connect) -> None:
    """Objects, prefixes and the way on."""
    bucket.put_many(["a b", "c/1", "c/2", "d+/x", "e"])
    plain, direct = connect(direct=False), connect()
    token: str | None = None
    for _ in range(6):
        page = direct.list_page("", token=token, limit=2)
        theirs = plain.list_page("", token=token, limit=2)
        assert (page.objects, page.prefixes) == (theirs.objects, theirs.prefixes)
        if (token := page.next_token) is None:
            break
    assert token is None


def test_it_is_direct(connect: Connect, proxy: Proxy) -> None:
    """boto3 sends nothing."""
    store = connect(proxy)
    with proxy.counting() as seen:
        store.put("f", b"x", Headers(), IF_ABSENT)
        store.head("f")
        store.get_start("f", 10)
        store.list_page("")
        store.copy("f", None, "g", None)
        store.delete("f")
    assert {agent(exchange) for exchange in seen} == {USER_AGENT}


def test_where_boto3_has_to_say_it_is_direct_after_one_request(
    connect: Connect, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that only boto3 understands has it find the bucket; then nothing needs it."""
    monkeypatch.setenv("AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS", "true")
    with proxy.counting() as seen:
        store = connect(proxy)
        store.list_page("")
    assert [agent(exchange) == USER_AGENT for exchange in seen] == [False, True]


def test_a_large_file_is_direct(connect: Connect, proxy: Proxy, bucket: Bucket) -> None:
    """Parts that are sent or copied, the completion, and an upload that is given up."""
    store = connect(proxy)
    bucket.put("source", b"s" * 6 * MIB)
    with proxy.counting() as seen:
        given_up = store.uploads.create("f", Headers())
        store.uploads.abort("f", given_up)
        upload = store.uploads.create("f", HEADERS, copies=True)
        etag = store.head("source").etag
        copied = store.uploads.copy_part("f", upload, 1, "source", etag, 0, 5 * MIB)
        parts = [copied, store.uploads.part("f", upload, 2, b"end")]
        assert store.uploads.complete("f", upload, parts, IF_ABSENT) == store.head("f").etag
    assert bucket.get("f") == b"s" * 5 * MIB + b"end"
    assert {agent(exchange) for exchange in seen} == {USER_AGENT}


def test_a_completion_that_fails_late_is_no_success(connect: Connect, proxy: Proxy) -> None:
    """S3 may say 200 first and then an error: boto3 asks again, and says so."""
    store = connect(proxy)
    upload = store.uploads.create("f", Headers())
    part = store.uploads.part("f", upload, 1, b"content")
    late = Status(200, "InternalError")
    proxy.inject(late, on("CompleteMultipartUpload"))
    store.uploads.complete("f", upload, [part], None)
    assert [exchange.status for exchange in proxy.requests.of("CompleteMultipartUpload")] == [
        200
    ] * 2


def test_what_is_not_there_and_what_does_not_hold(connect: Connect, proxy: Proxy) -> None:
    """404, 412 and 304 are answers: one request each."""
    store = connect(proxy)
    etag = store.put("f", b"x", Headers(), IF_ABSENT)
    with proxy.counting() as seen:
        for ask in (store.head, lambda key: store.get_start(key, 10)):
            with pytest.raises(errors.NotFound):
                ask("nothing")
        with pytest.raises(errors.Stale) as caught:
            store.put("f", b"y", Headers(), IF_ABSENT)
        assert store.get_start("f", 10, unless=etag) is None
    assert len(seen) == 4
    assert not caught.value.retried


def test_a_lost_answer_is_asked_for_by_boto3(connect: Connect, proxy: Proxy) -> None:
    """And what the store says then may be about our own success."""
    store = connect(proxy)
    proxy.inject(LostAnswer(), on("PutObject"))
    with pytest.raises(errors.Stale) as caught:
        store.put("f", b"x", Headers(), IF_ABSENT)
    assert caught.value.retried
    assert store.get_start("f", 10) is not None


@pytest.mark.parametrize("fault", [SLOW_DOWN, LostAnswer()])
def test_what_fails_is_tried_again_by_boto3(connect: Connect, proxy: Proxy, fault: Fault) -> None:
    """With its pauses, its redirects and its new credentials."""
    store = connect(proxy)
    store.put("f", b"x", Headers(), None)
    proxy.inject(fault, on("HeadObject"))
    with proxy.counting() as seen:
        assert store.head("f").size == 1
    assert agent(seen[0]) == USER_AGENT
    assert "boto" in agent(seen[-1]).lower()


def test_odd_arguments_are_boto3s(connect: Connect, proxy: Proxy) -> None:
    """Metadata that no store can have sent is refused, with its name."""
    store = connect(proxy)
    with proxy.counting() as seen, pytest.raises(errors.FsError, match="'name'"):
        store.put("f", b"x", Headers({"name": "€"}), None)
    assert len(seen) == 0


def test_a_connection_that_was_closed_meanwhile_is_not_used(connect: Connect, proxy: Proxy) -> None:
    """A store that comes back after a restart is asked at once, without boto3's help."""
    store = connect(proxy)
    store.put("f", b"x", Headers(), None)
    proxy.refuse()
    proxy.accept()
    with proxy.counting() as seen:
        store.head("f")
    assert [agent(exchange) for exchange in seen] == [USER_AGENT]


ROUTES = [
    ("https://b.s3.eu-west-1.amazonaws.com/k", "eu-west-1/s3", True),
    ("http://127.0.0.1:9000/b/k", "us-east-1/s3", True),
    ("http://127.0.0.1:9000/b?list-type=2", "us-east-1/s3", True),
    ("http://127.0.0.1:9000/other/k", "us-east-1/s3", False),
    ("https://b--x-s3.s3express-a.amazonaws.com/k", "us-east-1/s3express", False),
    ("https://ap-1.s3-accesspoint.eu-west-1.amazonaws.com/k", "eu-west-1/s3", False),
]


@pytest.mark.parametrize(("url", "scope", "known"), ROUTES)
def test_only_plain_buckets_have_a_direct_way(url: str, scope: str, known: bool) -> None:
    """Access points, directory buckets and what else signs otherwise are boto3's."""
    direct = FastPath("b", Wire(0.01, 0.01, 1), lambda: Keys("A", "S"))
    direct.learn(url, {"Authorization": f"AWS4-HMAC-SHA256 Credential=A/20260101/{scope}/aws4, x"})
    if not known:
        assert direct.send("head_object", {"Key": "k"}) is None
    else:
        with pytest.raises(Unclear):
            direct.send("head_object", {"Key": "k" * 3000 + "\r\n"})
    direct.close()


def test_where_connections_fail_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd network is boto3's for a minute; then it is tried again."""
    direct = FastPath("b", Wire(0.1, 0.1, 1), lambda: Keys("A", "S"))
    scope = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, x"
    direct.learn("http://127.0.0.1:1/b/k", {"Authorization": scope})
    for _ in range(FAILURES_MOST):
        with pytest.raises(Unclear):
            direct.send("head_object", {"Key": "k"})
    assert direct.send("head_object", {"Key": "k"}) is None
    later = time.monotonic() + REST
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(Unclear):
        direct.send("head_object", {"Key": "k"})


@pytest.mark.parametrize("direct", [True, False])
def test_a_slow_line_is_not_a_silent_one(
    bucket: Bucket, connect: Connect, proxy: Proxy, direct: bool
) -> None:
    """Time limits are for the store's silence; a body may take as long as it goes on moving."""
    store = connect(proxy, direct=direct, timeout=0.5)
    proxy.inject(SlowUpload(8 * MIB), on("PutObject"), times=None)
    proxy.inject(SlowUpload(8 * MIB), on("UploadPart"), times=None)
    content = bytes(12 * MIB)  # 1.5 seconds, and more than the kernel's buffers take at once
    with proxy.counting() as seen:
        store.put("f", content, Headers(), None)
        upload = store.uploads.create("g", Headers())
        store.uploads.part("g", upload, 1, bytearray(content))
    assert seen.operations == {"PutObject": 1, "CreateMultipartUpload": 1, "UploadPart": 1}


def test_a_connection_is_used_by_one_at_a_time(connect: Connect, proxy: Proxy) -> None:
    """Also after an answer that is left to boto3: the next one finds it open."""
    store = connect(proxy)
    store.put("f", b"x", Headers(), None)
    for _ in range(3):
        proxy.inject(SLOW_DOWN, on("HeadObject"))
        store.head("f")
    with proxy.counting() as seen:
        assert store.head("f").size == 1
    assert [agent(exchange) for exchange in seen] == [USER_AGENT]


def test_the_store_is_told_our_version(bucket: Bucket, connect: Connect, proxy: Proxy) -> None:
    """On both ways to it, so that its log tells who asked."""
    for direct in (True, False):
        with proxy.counting() as seen:
            connect(proxy, direct=direct).list_page("")
        assert all(f"s3mount/{__version__}" in agent(exchange) for exchange in seen)
        assert len(seen) > 0
