"""Requests of a killed worker that the store carries out after those of the next one.

A store that has received a request carries it out whatever becomes of its sender.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fusefs.survival.application import Application
from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.s3pod import S3Pod
from tests.proxy.exchange import on
from tests.proxy.faults import Hold, LostAnswer
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount
SECONDS = 20.0


@pytest.fixture
def pod(base: Path, bucket: Bucket, proxy: Proxy) -> Iterator[S3Pod]:
    """A pod whose store is behind the proxy."""
    made = S3Pod(base, bucket, endpoint=proxy.endpoint, **nobody(base))
    try:
        made.start()
        yield made
    finally:
        proxy.heal()
        made.clean_up()


@pytest.fixture
def application(application: Application) -> Application:
    """A program that has imported what is used here."""
    for module in ("os", "pathlib"):
        application.do(f"({module} := __import__({module!r}))")
    return application


@pytest.fixture
def held(proxy: Proxy) -> Iterator[Hold]:
    """Requests that the store has, and carries out when they are let go."""
    hold = Hold()
    yield hold
    hold.let_go()


def done_twice(
    pod: S3Pod,
    proxy: Proxy,
    held: Hold,
    operation: str,
    application: Application,
    work: str,
    key: str = "f",
) -> None:
    """Have a worker killed while a request of `work` is under way; the next one does the work."""
    proxy.inject(held, on(operation, key))
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(application.do, work)
        held.wait_for(1)
        pod.kill_worker()
        assert "failed" not in result.result(SECONDS)


def arrived(proxy: Proxy, held: Hold) -> None:
    """Let the store carry the held request out."""
    late = next(seen for seen in proxy.requests if seen.fault)
    held.let_go()
    deadline = time.monotonic() + SECONDS
    while not late.done:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(bucket: Bucket) -> bool:
    """Wait until nothing is in the bucket."""
    deadline = time.monotonic() + SECONDS
    while bucket.keys():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


WRITTEN = "pathlib.Path({!r}).write_text('first')"


@pytest.mark.parametrize(
    "made", [WRITTEN, "os.symlink('target', {!r})"], ids=["written", "symlink"]
)
@pytest.mark.parametrize("moved", [False, True], ids=["removed", "renamed"])
def test_what_was_removed_does_not_come_back(
    pod: S3Pod,
    proxy: Proxy,
    held: Hold,
    bucket: Bucket,
    application: Application,
    made: str,
    moved: bool,
) -> None:
    """The object that a late PUT makes under the old name is deleted."""
    path, other = str(pod.root / "f"), str(pod.root / "g")
    done_twice(pod, proxy, held, "PutObject", application, made.format(path))
    if moved:
        assert "failed" not in application.do(f"os.rename({path!r}, {other!r})")
    assert "failed" not in application.do(f"os.unlink({other if moved else path!r})")
    arrived(proxy, held)
    assert gone(bucket)


def test_nothing_comes_back_at_the_end(
    pod: S3Pod, proxy: Proxy, held: Hold, bucket: Bucket, application: Application
) -> None:
    """A worker that ends looks once more what came late."""
    path = str(pod.root / "f")
    done_twice(pod, proxy, held, "PutObject", application, WRITTEN.format(path))
    assert "failed" not in application.do(f"os.unlink({path!r})")
    soon = threading.Timer(0.5, held.let_go)
    soon.start()
    assert pod.stop() == (0, 0)
    soon.join()
    assert bucket.keys() == []


def test_a_new_file_of_the_name_is_no_conflict(
    pod: S3Pod, proxy: Proxy, held: Hold, bucket: Bucket, application: Application
) -> None:
    """What a late PUT made under its name is replaced."""
    path = str(pod.root / "f")
    done_twice(pod, proxy, held, "PutObject", application, WRITTEN.format(path))
    application.do(f"os.unlink({path!r})")
    application.do(f"(new := open({path!r}, 'w')).write('second')")
    arrived(proxy, held)
    assert "failed" not in application.do("new.close()")
    time.sleep(1.0)
    assert bucket.get("f") == b"second"


def test_a_new_file_whose_own_answer_was_lost_stays(
    pod: S3Pod, proxy: Proxy, held: Hold, bucket: Bucket, application: Application
) -> None:
    """It has just the size and times that were sent, and is no late request's."""
    path = str(pod.root / "f")
    done_twice(pod, proxy, held, "PutObject", application, WRITTEN.format(path))
    application.do(f"os.unlink({path!r})")
    arrived(proxy, held)
    assert gone(bucket)
    proxy.inject(LostAnswer(), on("PutObject", "f"), times=1)
    assert "failed" not in application.do(WRITTEN.format(path))
    assert pod.stop() == (0, 0)
    assert bucket.get("f") == b"first"


def test_a_late_delete_spares_the_next_file_of_the_name(
    pod: S3Pod, proxy: Proxy, held: Hold, bucket: Bucket, application: Application
) -> None:
    """A DELETE is for the version that the program removed."""
    path = str(pod.root / "f")
    application.do(WRITTEN.format(path))
    done_twice(pod, proxy, held, "DeleteObject", application, f"os.unlink({path!r})")
    assert "failed" not in application.do(f"pathlib.Path({path!r}).write_text('second')")
    arrived(proxy, held)
    assert bucket.get("f") == b"second"


def test_a_directory_may_be_moved_back(
    pod: S3Pod, proxy: Proxy, held: Hold, bucket: Bucket, application: Application
) -> None:
    """The same objects, with the same times, under the old name: they are no late requests'."""
    directory, other = str(pod.root / "d"), str(pod.root / "e")
    application.do(f"os.mkdir({directory!r})")
    work = WRITTEN.format(f"{directory}/f")
    done_twice(pod, proxy, held, "PutObject", application, work, "d/f")
    assert "failed" not in application.do(f"os.rename({directory!r}, {other!r})")
    moved = bucket.head("e/f")
    bucket.client.copy_object(  # as another mount's rename, or a tool's, does it
        Bucket=bucket.name, Key="d/f", CopySource={"Bucket": bucket.name, "Key": "e/f"}
    )
    bucket.delete("e/f")
    assert pod.stop() == (0, 0)
    assert bucket.get("d/f") == b"first" and bucket.head("d/f")["Metadata"] == moved["Metadata"]
