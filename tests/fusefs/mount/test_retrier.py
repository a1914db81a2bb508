"""The background uploads: several at once, none in the way of another, none for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from fusefs.errors import Unavailable
from fusefs.mount.retrier import Retrier
from fusefs.write.flush import Flush
from fusefs.write.unsent import DirtySet, Unsent
from tests.fusefs.unsent import Pretended, fails
from tests.waiting import until

NEVER = threading.Event()


class Bench:
    """A retrier, its files, and the ones it told to be settled."""

    def __init__(self) -> None:
        self.dirty = DirtySet()
        self.settled: list[str] = []
        self.flush = Flush()
        self.looks = 0
        self.look: Callable[[], None] = lambda: None
        self.retrier = Retrier(self.dirty, self.flush, self._settle, self._renames, 0.02)

    def _settle(self, file: Unsent) -> None:
        self.settled.append(file.key)

    def _renames(self) -> None:
        self.looks += 1
        self.look()

    def add(self, key: str, act: Callable[[], object] = lambda: None, size: int = 1) -> Pretended:
        """Add a file that is due."""
        file = Pretended(key, self.dirty, act, size)
        file.retry.again_in(0)
        return file


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A retrier that hasn't begun."""
    bench = Bench()
    yield bench
    bench.retrier.stop()
    bench.flush.close()


def test_a_bug_with_one_file_ends_neither_the_thread_nor_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are uploaded, also those that come later; the one waits for its next try."""
    broken = bench.add("broken", fails(KeyError("posix")))
    bench.add("first")
    bench.retrier.start()
    until(lambda: bench.settled == ["first"])
    bench.add("second")
    until(lambda: bench.settled == ["first", "second"])
    assert broken.retry.last_error and broken.tries <= 2
    assert {vars(line)["key"] for line in caplog.records if line.levelname == "ERROR"} == {"broken"}


def test_a_bug_while_renames_are_finished_doesn_t_end_the_uploads(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An error line, and the files go on."""
    bench.look = fails(ZeroDivisionError())
    bench.add("f")
    bench.retrier.start()
    until(lambda: bench.settled == ["f"])
    assert "a bug" in caplog.text


def test_a_file_that_hangs_holds_up_no_other(bench: Bench) -> None:
    """Neither the next look nor a drain waits for a try that is under way."""
    release = threading.Event()
    hung = bench.add("hung", lambda: release.wait(20))
    bench.retrier.start()
    until(lambda: hung.tries == 1)
    bench.add("later")
    until(lambda: bench.settled == ["later"])
    bench.add("last").retry.over()
    stop, ends = threading.Event(), list[bool]()
    draining = threading.Thread(target=lambda: ends.append(bench.retrier.drain(stop)))
    draining.start()
    until(lambda: bench.settled == ["later", "last"])
    stop.set()
    draining.join(10)
    release.set()
    assert ends == [False]


def test_a_drain_uploads_small_files_first(bench: Bench) -> None:
    """So most names are safe when the time is up."""
    flush, order = Flush(at_once=1), list[str]()
    for key, size in (("large", 3), ("small", 1), ("middle", 2)):
        bench.add(key, lambda key=key: order.append(key), size)  # type: ignore[misc]
    assert Retrier(bench.dirty, flush, lambda _: None, lambda: None).drain(NEVER)
    flush.close()
    assert order == ["small", "middle", "large"]


def test_a_drain_tries_again_what_failed(bench: Bench) -> None:
    """Until it is in S3, whatever the pauses of the background are."""
    failures = [Unavailable("away"), Unavailable("away")]

    def act() -> None:
        if failures:
            raise failures.pop()

    bench.add("f", act)
    assert bench.retrier.drain(NEVER)
    assert bench.settled == ["f"]
