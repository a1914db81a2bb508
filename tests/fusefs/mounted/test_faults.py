"""A store that fails: every acknowledged byte is stored in the end, every failure was reported."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place, Share, Shared
from tests.fusefs.mounted.test_lifecycle import eventually
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.ours import OurMount
from tests.proxy.exchange import Exchange, on
from tests.proxy.faults import (
    ACCESS_DENIED,
    SLOW_DOWN,
    Corrupt,
    Fault,
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
from tests.servers.s3 import Bucket, Endpoint

PASSING: dict[str, Fault] = {
    "500": Status(),
    "503": SLOW_DOWN,
    "reset": ResetUpload(1000),
    "lost-answer": LostAnswer(),
}
BROKEN_READS: dict[str, Fault] = {
    "500": Status(),
    "503": SLOW_DOWN,
    "reset": Reset(5000),
    "truncated": truncated(5000),
    "lost-answer": LostAnswer(),
}


@pytest.fixture(scope="module")
def battered(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount through a proxy, for tests that leave it well; it may complain."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy) as shared:
        assert isinstance(shared.mount, OurMount)
        shared.mount.expected.append(".")
        yield shared


@pytest.fixture
def proxy(battered: Shared) -> Iterator[Proxy]:
    """The proxy of all mounts here, in good health before and after each test."""
    assert battered.proxy is not None
    yield battered.proxy
    battered.proxy.heal()
    battered.proxy.settle()


@pytest.fixture
def given(battered: Shared, proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory that the mount of many tests here has never heard of."""
    with battered.place(request) as place:
        yield place


@pytest.fixture
def mount(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> Iterator[OurMount]:
    """A mount of its own, through the proxy, that may complain of what is done to it."""
    mount = mounts(bucket, endpoint=proxy.endpoint)
    mount.expected.append(".")
    yield mount
    proxy.heal()  # else it waits, in ending, for a store that never comes back
    mount.release()


@pytest.fixture
def impatient(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> Iterator[OurMount]:
    """As `mount`, but soon it takes an outage for lasting."""
    mount = mounts(bucket, "--retry-for", "1s", "-o", "retries=2", endpoint=proxy.endpoint)
    mount.expected.append(".")
    yield mount
    proxy.heal()
    mount.release()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("size", [100, 24 * MIB])
def test_a_write_survives_a_passing_fault(
    here: Place, proxy: Proxy, fault: Fault, size: int
) -> None:
    """Two failures of every kind of upload request: retried, acknowledged, stored."""
    writing = {"PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"}
    for name in sorted(writing):
        proxy.inject(fault, on(name), times=2 if name == "UploadPart" else 1)
    with proxy.counting() as seen:
        (here / "f").write_bytes(content(size))
    assert here.keys.get("f") == content(size)
    assert any(exchange.fault for exchange in seen), "nothing was injected"
    proxy.settle()
    if not isinstance(fault, LostAnswer):  # nobody knows of an upload whose number was lost
        assert here.keys.uploads() == []


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_changes_of_names_survive_a_passing_fault(here: Place, proxy: Proxy, fault: Fault) -> None:
    """mkdir, rename, chmod and unlink, each with its first request failing once."""
    (here / "f").write_bytes(b"content")
    for name in ("CopyObject", "DeleteObject", "ListObjectsV2", "HeadObject"):
        proxy.inject(fault, on(name))
    proxy.inject(fault, on("PutObject", f"{here.keys.prefix}d/"))
    (here / "d").mkdir()
    (here / "f").chmod(0o600)
    (here / "f").rename(here / "d/g")
    (here / "d/g").rename(here / "h")
    assert here.keys.get("h") == b"content"
    (here / "h").unlink()
    assert here.keys.keys() == ["", "d/"]


@pytest.mark.parametrize("fault", BROKEN_READS.values(), ids=BROKEN_READS)
@pytest.mark.parametrize("size", [20_000, 24 * MIB])
def test_a_read_survives_a_passing_fault(
    given: Place, proxy: Proxy, fault: Fault, size: int
) -> None:
    """Three broken answers on the way: the content is right all the same."""
    given.keys.put("f", content(size))
    injection = proxy.inject(fault, on("GetObject"), times=3 if size > MIB else 1)
    assert (given / "f").read_bytes() == content(size)
    assert injection.hits, "nothing was injected"


def test_a_read_that_fails_for_good_is_an_error(
    impatient: OurMount, bucket: Bucket, proxy: Proxy
) -> None:
    """EIO, not short content; and once the store is well again, so is the file."""
    bucket.put("f", content(3 * MIB))
    proxy.inject(Status(), on("GetObject"), times=None)
    with pytest.raises(OSError) as caught:
        (impatient.path / "f").read_bytes()
    assert caught.value.errno == errno.EIO
    proxy.heal()
    assert (impatient.path / "f").read_bytes() == content(3 * MIB)


def test_a_wrong_etag_is_never_believed(given: Place, proxy: Proxy) -> None:
    """An answer for another version is an error or is asked again; content is never wrong."""
    given.keys.put("f", content(10 * MIB))
    os.listdir(given.path)
    proxy.inject(WrongEtag(), on("GetObject"), times=2)
    try:
        assert (given / "f").read_bytes() == content(10 * MIB)
    except OSError as error:
        assert error.errno in (errno.ESTALE, errno.EIO)
    proxy.heal()
    assert (given / "f").read_bytes() == content(10 * MIB)


def test_a_bad_byte_in_a_checksummed_answer_is_noticed(given: Place, proxy: Proxy) -> None:
    """The store sends a checksum along: a byte that changed on the way never reaches a program."""
    client = given.keys.client
    where = {"Bucket": given.keys.name, "Key": f"{given.keys.prefix}f"}
    client.put_object(**where, ChecksumAlgorithm="CRC32", Body=content(10_000))
    answer = client.get_object(**where, ChecksumMode="ENABLED")
    if "ChecksumCRC32" not in answer:
        pytest.skip("this store keeps no checksums")
    injection = proxy.inject(Corrupt(at=5000), on("GetObject"))
    assert (given / "f").read_bytes() == content(10_000)
    assert injection.hits == 1


def test_a_bad_byte_of_an_object_that_became_small_is_noticed(given: Place, proxy: Proxy) -> None:
    """The open expects a large one, of which it asks for a range: that has no checksum."""
    client = given.keys.client
    where = {"Bucket": given.keys.name, "Key": f"{given.keys.prefix}f"}
    given.keys.put("f", content(300_000))
    assert (given / "f").stat().st_size == 300_000
    client.put_object(**where, ChecksumAlgorithm="CRC32", Body=content(10_000))
    if "ChecksumCRC32" not in client.get_object(**where, ChecksumMode="ENABLED"):
        pytest.skip("this store keeps no checksums")
    injection = proxy.inject(Corrupt(at=5000), on("GetObject"), times=1)
    assert (given / "f").read_bytes() == content(10_000)
    assert injection.hits == 1


@contextmanager
def outage(proxy: Proxy, seconds: float) -> Iterator[None]:
    """Refuse connections for so long, from now on, while the block runs."""
    proxy.refuse()
    timer = threading.Timer(seconds, proxy.accept)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_short_outage_is_waited_for(given: Place, proxy: Proxy) -> None:
    """Connections refused for a second: writing and reading take longer and succeed."""
    given.keys.put("old", content(2 * MIB))
    with outage(proxy, 1):
        (given / "f").write_bytes(content(MIB, 1))
    with outage(proxy, 1):
        assert (given / "old").read_bytes() == content(2 * MIB)
    assert given.keys.get("f") == content(MIB, 1)


def test_a_store_that_falls_silent_is_asked_again(
    bucket: Bucket, mounts: Mounts, proxy: Proxy
) -> None:
    """After `readwrite_timeout` without a byte the request is sent anew, whatever it was.

    While a body is being sent it is `connect_timeout` that counts.
    """
    options = ("-o", "connect_timeout=1,readwrite_timeout=1", "--without", "opens")
    path = mounts(bucket, *options, endpoint=proxy.endpoint).path
    bucket.put("old", content(20_000))
    silent = [
        proxy.inject(Stall(60), on(name))
        for name in ("PutObject", "UploadPart", "CompleteMultipartUpload", "HeadObject")
    ]
    silent.append(proxy.inject(StalledBody(60, after=5000), on("GetObject")))
    (path / "f").write_bytes(b"small")
    (path / "g").write_bytes(content(24 * MIB))
    assert (path / "old").read_bytes() == content(20_000)
    assert (bucket.get("f"), bucket.get("g")) == (b"small", content(24 * MIB))
    assert [injection.hits for injection in silent] == [1] * len(silent)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_what_could_not_be_uploaded_is_reported_kept_and_sent_later(
    impatient: OurMount, bucket: Bucket, proxy: Proxy, size: int
) -> None:
    """The store refuses for good: close fails, the file reads back, and arrives when it can."""
    proxy.inject(SLOW_DOWN, writes, times=None)
    with pytest.raises(OSError) as caught:
        (impatient.path / "f").write_bytes(content(size))
    assert caught.value.errno == errno.EIO
    assert "f" not in bucket
    assert (impatient.path / "f").read_bytes() == content(size)
    proxy.heal()
    assert eventually(lambda: "f" in bucket, 90)
    assert bucket.get("f") == content(size)


@pytest.mark.timeout(240)
def test_what_could_not_be_uploaded_survives_kill_and_restart(
    impatient: OurMount, bucket: Bucket, proxy: Proxy
) -> None:
    """Failed at close, killed, started again with a store that works: uploaded."""
    proxy.inject(SLOW_DOWN, writes, times=None)
    with pytest.raises(OSError):
        (impatient.path / "f").write_bytes(content(5 * MIB))
    impatient.kill()
    impatient.restart()
    assert (impatient.path / "f").read_bytes() == content(5 * MIB), "it is shown before it is there"
    assert "f" not in bucket
    proxy.heal()
    assert eventually(lambda: "f" in bucket, 30)
    assert bucket.get("f") == content(5 * MIB)


def writes(exchange: Exchange) -> bool:
    """Match whatever would store something under a user's key."""
    return exchange.method in ("PUT", "POST") and "probe" not in exchange.key


def test_a_store_that_denies_writing(mount: OurMount, proxy: Proxy) -> None:
    """EACCES or EPERM at close, at once: there is nothing to wait for."""
    proxy.inject(ACCESS_DENIED, writes, times=None)
    began = monotonic()
    with pytest.raises(PermissionError):
        (mount.path / "f").write_bytes(b"content")
    assert monotonic() - began < 10


def test_fsync_reports_what_close_would(impatient: OurMount, bucket: Bucket, proxy: Proxy) -> None:
    """fsync fails while the store does, and succeeds when it has recovered: nothing is lost."""
    proxy.inject(Status(), writes, times=None)
    with (impatient.path / "f").open("wb", buffering=0) as file:
        file.write(content(MIB))
        with pytest.raises(OSError):
            os.fsync(file.fileno())
        proxy.heal()
        os.fsync(file.fileno())
        assert bucket.get("f") == content(MIB)


def test_a_lost_answer_is_no_conflict(mount: OurMount, bucket: Bucket, proxy: Proxy) -> None:
    """The store did it and we never heard: the retry's 412 is our own object, not another's."""
    proxy.inject(LostAnswer(), on("PutObject"))
    (mount.path / "f").write_bytes(b"one")
    proxy.inject(LostAnswer(), on("PutObject"))
    (mount.path / "f").write_bytes(b"two")
    proxy.inject(LostAnswer(), on("CompleteMultipartUpload"))
    (mount.path / "big").write_bytes(content(20 * MIB))
    assert bucket.get("f") == b"two"
    assert bucket.get("big") == content(20 * MIB)
    assert not [path for path in mount.cache.rglob("conflicts/**/*") if path.is_file()]


def test_a_stall_of_one_file_does_not_stop_others(given: Place, proxy: Proxy) -> None:
    """While one read waits for a silent store, everything else goes on."""
    given.keys.put("slow", content(MIB))
    given.keys.put("fast", content(MIB))
    os.listdir(given.path)
    stall = proxy.inject(Stall(25), on("GetObject", f"{given.keys.prefix}slow"), times=None)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit((given / "slow").read_bytes)
        assert eventually(lambda: stall.hits > 0, 10)
        assert (given / "fast").read_bytes() == content(MIB)
        (given / "new").write_bytes(b"new")
        os.listdir(given.path)
        assert not reading.done()
        proxy.heal()
        assert reading.result() == content(MIB)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_hour_of_bad_luck(mount: OurMount, bucket: Bucket, proxy: Proxy) -> None:
    """Every fault at random for minutes: acknowledged is stored, and what failed was reported."""
    dice = random.Random(11)
    faults = [*PASSING.values(), *BROKEN_READS.values(), Stall(2), StalledBody(2), Stall(30)]
    for fault in faults:
        weight = 0.001 if isinstance(fault, Stall) else 0.01
        proxy.inject(fault, lambda _, weight=weight: dice.random() < weight, times=None)
    acknowledged: dict[str, bytes] = {}
    deadline = monotonic() + 240
    while monotonic() < deadline:
        name, data = f"f{dice.randrange(20)}", content(dice.choice([10, MIB, 18 * MIB]))
        step(mount.path / name, name, data, acknowledged)
    proxy.heal()
    with outage(proxy, 20):
        pass
    for name, data in acknowledged.items():
        assert eventually(partial(stored, bucket, name, data), 60)


def stored(bucket: Bucket, name: str, data: bytes) -> bool:
    """Say whether the store has this content under this name."""
    return name in bucket and bucket.get(name) == data


def step(path: Path, name: str, data: bytes, acknowledged: dict[str, bytes]) -> None:
    """Write and read a file, remembering what was promised."""
    try:
        path.write_bytes(data)
    except OSError:
        acknowledged.pop(name, None)  # either version may be there
        return
    acknowledged[name] = data
    try:
        assert path.read_bytes() == data
    except OSError:
        return
