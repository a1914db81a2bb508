"""Objects that requests of before make after they were removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from fusefs.errors import NotFound, Unavailable, Unsupported
from fusefs.objects import Headers, ObjectInfo
from fusefs.s3.laterequests import FIRST_LOOK, MOST, LateRequests

TIMES = {"mtime": "1.5"}


class Bucket:
    """What is there, by key."""

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}
        self.late = LateRequests(self.head, self.delete, ending=0.0)
        self.before_head: Callable[[str], None] = lambda _: None
        self.before_delete: Callable[[str], None] = lambda _: None

    def put(self, key: str, size: int = 3, **metadata: str) -> None:
        """Have an object made."""
        self.objects[key] = ObjectInfo(key, size, "etag", 0.0, Headers(metadata or TIMES))

    def head(self, key: str) -> ObjectInfo:
        self.before_head(key)
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    def delete(self, key: str, etag: str) -> None:
        self.before_delete(key)
        assert self.objects.pop(key).etag == etag


@pytest.fixture
def bucket() -> Bucket:
    """An empty one."""
    return Bucket()


def looked(bucket: Bucket) -> None:
    """Have all looks done that are due at the end."""
    bucket.late.settle(threading.Event())
    bucket.late.close()


def test_what_came_late_is_deleted(bucket: Bucket) -> None:
    """While the mount goes on, nobody has to ask for it."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.put("f")
    deadline = time.monotonic() + 10 * FIRST_LOOK
    while bucket.objects:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    bucket.late.close()


@pytest.mark.parametrize(
    ("size", "metadata"),
    [(4, TIMES), (3, {"mtime": "1.6"}), (3, {**TIMES, "more": "x"})],
    ids=["size", "times", "metadata"],
)
def test_what_others_made_stays(bucket: Bucket, size: int, metadata: dict[str, str]) -> None:
    """It differs in something."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.put("f", size, **metadata)
    looked(bucket)
    assert list(bucket.objects) == ["f"]


def test_what_we_put_there_again_stays(bucket: Bucket) -> None:
    """Even with the same times: a rename back keeps them."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.late.present("f")
    bucket.put("f")
    looked(bucket)
    assert list(bucket.objects) == ["f"]


def test_what_is_expected_again_stays(bucket: Bucket) -> None:
    """A new object of the name was made by a request without an answer: it is there, not late."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.late.expect("f", 3, {"mtime": "2.5"})
    bucket.put("f", mtime="2.5")
    looked(bucket)
    assert list(bucket.objects) == ["f"]


def test_what_we_make_waits_for_a_deletion_under_way(bucket: Bucket) -> None:
    """Else an object with the same bytes, and so the same ETag, would be deleted in its place."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.put("f")
    looking, made = threading.Event(), threading.Event()

    def make() -> None:
        looking.wait()
        with bucket.late.making("f"):
            bucket.put("f", mtime="2.5")
        made.set()

    def others_are_faster(_: str) -> None:
        looking.set()
        assert not made.wait(0.05)

    bucket.before_delete = others_are_faster
    maker = threading.Thread(target=make)
    maker.start()
    looked(bucket)
    maker.join()
    assert bucket.objects["f"].headers == Headers({"mtime": "2.5"})


@pytest.mark.parametrize("failed", [False, True])
def test_what_we_made_since_a_look_began_stays(bucket: Bucket, failed: bool) -> None:
    """Who makes it doesn't wait for the answer; what it makes may have the same times."""

    def make(_: str) -> None:
        bucket.before_head = lambda _: None
        with suppress(Unavailable), bucket.late.making("f"):
            bucket.put("f")
            if failed:
                raise Unavailable("no answer")

    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.before_head = make
    bucket.late.close()
    bucket.late.settle(threading.Event())
    assert list(bucket.objects) == ["f"]


def test_what_we_make_just_now_is_not_looked_at(bucket: Bucket) -> None:
    """A directory moved back keeps the times."""
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    with bucket.late.making("f"):
        bucket.put("f")
        bucket.late.settle(threading.Event())
    looked(bucket)
    assert list(bucket.objects) == ["f"]


def test_a_store_that_cannot_say_spares_what_is_there(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no bug of ours, and nothing is deleted on a guess."""

    def refuse(_: str) -> None:
        raise Unsupported("no version is deleted by its ETag")

    bucket.before_delete = refuse
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.put("f")
    looked(bucket)
    assert list(bucket.objects) == ["f"] and not caplog.records


def test_what_nobody_expects_stays(bucket: Bucket) -> None:
    """A file that was removed without a try whose answer was lost, or whose try has no times."""
    bucket.late.expect("without", 3, {})
    for key in ("other", "without"):
        bucket.late.removed(key)
        bucket.put(key)
    looked(bucket)
    assert sorted(bucket.objects) == ["other", "without"]


def test_a_file_that_is_there_is_not_a_late_one(bucket: Bucket) -> None:
    """Only what was removed can come back."""
    bucket.late.expect("f", 3, TIMES)
    bucket.put("f")
    assert not bucket.late.made(bucket.head("f"))
    bucket.late.removed("f")
    assert bucket.late.made(bucket.head("f"))


def test_the_oldest_of_too_many_are_forgotten(bucket: Bucket) -> None:
    """Memory is bounded."""
    for number in range(MOST + 1):
        bucket.late.expect(f"{number}", 3, TIMES)
    bucket.late.removed("0")
    bucket.put("0")
    looked(bucket)
    assert list(bucket.objects) == ["0"]


def test_an_end_that_has_no_time_left_asks_for_nothing(bucket: Bucket) -> None:
    """What comes late then stays."""
    stop = threading.Event()
    stop.set()
    bucket.late.settle(stop)
    bucket.late.expect("f", 3, TIMES)
    bucket.late.removed("f")
    bucket.late.close()
    bucket.put("f")
    bucket.late.settle(stop)
    assert list(bucket.objects) == ["f"]
