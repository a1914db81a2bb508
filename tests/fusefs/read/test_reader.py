"""Reads of object versions: request budgets, sharing, failures, bounds."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.cache.cache import Cache
from fusefs.disk.space import Space
from fusefs.errors import AccessDenied, Stale, Unavailable
from fusefs.read.reader import ObjectVersion, Reader, ReadLimits
from tests.fusefs.ranges import FakeRanges

KiB, MiB = 1024, 1024 * 1024
BLOCK = 128 * KiB


@dataclass
class Bench:
    """A reader over a fake store and a real cache directory."""

    root: Path
    store: FakeRanges
    space: Space
    cache: Cache
    reader: Reader

    def put(self, size: int, key: str = "k", etag: str = "e1") -> bytes:
        # Random bytes repeated at a prime distance, so that no two blocks are equal.
        seed = random.Random(size).randbytes(min(size, 1_000_003))
        data = (seed * (size // max(1, len(seed)) + 1))[:size]
        self.store.put(key, data, etag)
        return data

    def close(self) -> None:
        self.reader.close()
        self.cache.close()


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def build(limit: int = 512 * MiB, limits: ReadLimits | None = None) -> Bench:
        store, space = FakeRanges(), Space(tmp_path, limit, 0)
        cache = Cache(tmp_path / f"c{len(made)}", space)
        made.append(
            Bench(tmp_path, store, space, cache, Reader(store, cache, limits or ReadLimits()))
        )
        return made[-1]

    yield build
    for bench in made:
        bench.close()


def read(content: ObjectVersion, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    done = content.read_into(offset, memoryview(buffer), content.stream())
    return bytes(buffer[:done])


def read_through(content: ObjectVersion, step: int = MiB) -> bytes:
    stream, buffer = content.stream(), bytearray(content.size)
    view = memoryview(buffer)
    for offset in range(0, content.size, step):
        content.read_into(offset, view[offset : offset + step], stream)
    return bytes(buffer)


@pytest.mark.parametrize("step", [128 * KiB, MiB, 100_000])
def test_a_sequential_read_fetches_each_byte_once(make: Make, step: int) -> None:
    """256 MiB read in order are 256 MiB fetched, in few requests."""
    bench = make()
    data = bench.put(256 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read_through(content, step) == data
    assert bench.store.fetched == len(data)
    assert len(bench.store.gets) <= 100
    content.close()


def test_a_small_read_is_one_small_request(make: Make) -> None:
    """4 KiB in the middle of a large object cost one GET of one block."""
    bench = make()
    data = bench.put(64 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read(content, 10 * MiB + 5, 4096) == data[10 * MiB + 5 : 10 * MiB + 5 + 4096]
    assert bench.store.gets == [(10 * MiB, BLOCK)]
    content.close()


def test_a_second_read_asks_for_nothing(make: Make) -> None:
    """What was read once comes from the disk, also for the next handle."""
    bench = make()
    data = bench.put(20 * MiB)
    for _ in range(2):
        content = bench.reader.open("k", "e1", len(data))
        assert read_through(content) == data
        content.close()
    assert bench.store.fetched == len(data)


def test_the_head_an_open_brought_is_not_fetched_again(make: Make) -> None:
    """A small file whose bytes came with the open costs nothing more."""
    bench = make()
    data = bench.put(16 * KiB)
    content = bench.reader.open("k", "e1", len(data), head=data)
    assert read(content, 0, len(data)) == data
    assert bench.store.gets == []
    content.close()


def test_the_head_helps_without_a_disk_too(make: Make) -> None:
    """With no room in the cache, the head waits in memory."""
    bench = make()
    bench.space.take(bench.space.limit)
    data = bench.put(300 * KiB)
    content = bench.reader.open("k", "e1", len(data), head=data[: 2 * BLOCK + 5])
    assert read(content, 0, 2 * BLOCK) == data[: 2 * BLOCK]
    assert bench.store.gets == []
    content.close()


def test_reads_end_at_the_end(make: Make) -> None:
    """Short at the end of file, nothing past it, nothing in an empty object."""
    bench = make()
    data = bench.put(1000)
    content = bench.reader.open("k", "e1", len(data))
    assert read(content, 990, 100) == data[990:]
    assert read(content, 1000, 10) == b""
    assert read(content, 5000, 10) == b""
    content.close()
    bench.put(0, "empty")
    content = bench.reader.open("empty", "e1", 0)
    assert read(content, 0, 10) == b""
    content.close()


def test_readers_of_one_version_share_what_is_in_flight(make: Make) -> None:
    """Eight threads reading the same file through handles of their own fetch it once."""
    bench = make()
    bench.store.latency = 0.01
    data = bench.put(24 * MiB)
    contents = [bench.reader.open("k", "e1", len(data)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read_through, contents))
    assert all(result == data for result in results)
    assert bench.store.fetched == len(data)
    for content in contents:
        content.close()


def test_random_reads_by_many_threads_are_right(make: Make) -> None:
    """16 threads at random places of one handle; nothing is fetched twice."""
    bench = make()
    bench.store.latency = 0.001
    data = bench.put(16 * MiB + 12345)
    content = bench.reader.open("k", "e1", len(data))
    stream = content.stream()

    def work(seed: int) -> bool:
        rng, buffer = random.Random(seed), bytearray(MiB)
        for _ in range(60):
            offset, size = rng.randrange(len(data)), rng.randrange(1, 300_000)
            done = content.read_into(offset, memoryview(buffer)[:size], stream)
            if buffer[:done] != data[offset : offset + size]:
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert bench.store.fetched <= len(data)
    content.close()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sequence_of_reads_gives_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is read in whatever order, with whatever cache and memory."""
    root = tmp_path_factory.mktemp("any")
    limit = data.draw(st.sampled_from([8 * KiB, 512 * KiB, 64 * MiB]))
    memory = data.draw(st.sampled_from([0, 256 * KiB, 4 * MiB]))
    store, space = FakeRanges(), Space(root, limit, 0)
    cache = Cache(root / "c", space)
    reader = Reader(store, cache, ReadLimits(memory=memory, part=MiB, window=4 * MiB))
    size = data.draw(st.integers(1, 3 * MiB))
    bytes_ = random.Random(size).randbytes(size)
    store.put("k", bytes_)
    content = reader.open("k", "e1", size)
    stream, buffer = content.stream(), bytearray(MiB)
    for _ in range(data.draw(st.integers(1, 12))):
        offset = data.draw(st.integers(0, size + 10))
        length = data.draw(st.sampled_from([1, 4096, 128 * KiB, MiB]))
        done = content.read_into(offset, memoryview(buffer)[:length], stream)
        assert buffer[:done] == bytes_[offset : offset + length]
        assert space.used <= limit
        assert reader.memory <= memory
    content.close()
    reader.close()
    cache.close()


def test_backward_reads_fetch_each_byte_once(make: Make) -> None:
    """A file read from its end to its start costs its size, not more."""
    bench = make()
    data = bench.put(8 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer = content.stream(), bytearray(64 * KiB)
    for offset in range(len(data) - 64 * KiB, -1, -64 * KiB):
        content.read_into(offset, memoryview(buffer), stream)
        assert buffer == data[offset : offset + 64 * KiB]
    assert bench.store.fetched == len(data)
    content.close()


def test_interleaved_sequential_reads_on_one_handle_each_go_ahead(make: Make) -> None:
    """Six places read in turn are six sequential runs: few large requests."""
    bench = make()
    data = bench.put(48 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer = content.stream(), bytearray(128 * KiB)
    for step in range(0, 8 * MiB, len(buffer)):
        for base in range(0, len(data), 8 * MiB):
            content.read_into(base + step, memoryview(buffer), stream)
            assert buffer == data[base + step : base + step + len(buffer)]
    assert bench.store.fetched == len(data)
    assert len(bench.store.gets) <= 90
    content.close()


def test_requests_that_overtake_each_other_stay_sequential(make: Make) -> None:
    """The kernel's read-ahead hands requests over out of order; the window goes on growing."""
    bench = make()
    data = bench.put(64 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer, rng = content.stream(), bytearray(128 * KiB), random.Random(1)
    for base in range(0, len(data), 8 * len(buffer)):
        order = list(range(base, base + 8 * len(buffer), len(buffer)))
        rng.shuffle(order)
        for offset in order:
            content.read_into(offset, memoryview(buffer), stream)
            assert buffer == data[offset : offset + len(buffer)]
    assert bench.store.fetched == len(data)
    assert len(bench.store.gets) <= 60
    content.close()


def test_a_reader_is_served_before_the_part_is_complete(make: Make) -> None:
    """Bytes that arrived are handed out while the rest of their GET stalls."""
    bench = make()
    bench.store.gate, bench.store.stop_after = threading.Event(), 2 * MiB
    data = bench.put(8 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    stalled = threading.Thread(target=read, args=(content, 0, 8 * MiB))
    stalled.start()
    wait_for(lambda: bool(bench.store.gets))
    assert read(content, MiB, MiB) == data[MiB : 2 * MiB]
    assert stalled.is_alive()
    bench.store.gate.set()
    stalled.join(10)
    content.close()


def wait_for(condition: Callable[[], bool], patience: float = 10.0) -> None:
    pause = threading.Event()
    for _ in range(int(patience / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("didn't happen in time")


def test_stalled_read_ahead_does_not_hold_up_other_readers(make: Make) -> None:
    """With all of one object's read-ahead stalled, another object is read at once."""
    bench = make(limits=ReadLimits(parallel=4))
    data, other = bench.put(64 * MiB), bench.put(MiB, "other")
    bench.store.gate, bench.store.gated = threading.Event(), lambda offset: offset >= 2 * MiB
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer = content.stream(), bytearray(MiB)
    for offset in range(0, 2 * MiB, 256 * KiB):
        content.read_into(offset, memoryview(buffer)[: 256 * KiB], stream)
    wait_for(lambda: bench.store.running == 3)
    second = bench.reader.open("other", "e1", len(other))
    assert read(second, 0, MiB) == other
    bench.store.gate.set()
    second.close()
    content.close()


def test_memory_stays_under_its_limit(make: Make) -> None:
    """Four sequential readers share 16 MiB of buffers, with the disk full besides."""
    bench = make(limits=ReadLimits(memory=16 * MiB))
    bench.space.take(bench.space.limit)
    bench.store.latency = 0.002
    data = bench.put(24 * MiB)
    for number in range(4):
        bench.put(24 * MiB, f"k{number}")
    contents = [bench.reader.open(f"k{number}", "e1", len(data)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(read_through, content) for content in contents]
        while not all(future.done() for future in futures):
            assert bench.reader.memory <= 16 * MiB
            time.sleep(0.002)
    assert all(future.result() == data for future in futures)
    for content in contents:
        content.close()
    assert bench.reader.memory == 0


def test_without_a_disk_a_sequential_read_still_fetches_each_byte_once(make: Make) -> None:
    """Read-ahead waits in memory for its reader."""
    bench = make()
    bench.space.take(bench.space.limit)
    data = bench.put(160 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read_through(content, 128 * KiB) == data
    assert bench.store.fetched == len(data)
    content.close()


def test_with_a_cache_smaller_than_the_object_each_byte_is_fetched_once(make: Make) -> None:
    """What is evicted was read before."""
    bench = make(limit=16 * MiB)
    data = bench.put(100 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read_through(content, 128 * KiB) == data
    assert bench.store.fetched == len(data)
    assert bench.space.used <= 16 * MiB
    content.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.mount
def test_a_disk_smaller_than_promised_gives_right_bytes(small_disk: Path) -> None:
    """A real 8 MiB disk under a 1 GiB limit: all is read, and the disk keeps what it can."""
    store, space = FakeRanges(), Space(small_disk, 1024 * MiB, MiB)
    cache = Cache(small_disk / "c", space)
    reader = Reader(store, cache, ReadLimits(memory=16 * MiB))
    data = random.Random(1).randbytes(40 * MiB)
    store.put("k", data)
    content = reader.open("k", "e1", len(data))
    assert read_through(content) == data
    assert store.fetched == len(data)
    assert os.statvfs(small_disk).f_bavail * 4096 >= MiB // 2
    content.close()
    reader.close()
    assert 0 < space.used <= 8 * MiB
    cache.close()


def test_an_object_replaced_in_the_store_is_stale(make: Make) -> None:
    """Never bytes of another version; what is here of the old one is still read."""
    bench = make()
    data = bench.put(4 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read(content, 0, 4096) == data[:4096]
    bench.put(4 * MiB + 1, etag="e2")
    with pytest.raises(Stale):
        read(content, 2 * MiB, 4096)
    assert read(content, 100, 4096) == data[100:4196]
    content.close()


def test_a_failure_is_the_readers_and_the_next_read_tries_again(make: Make) -> None:
    """An error is told once, not remembered."""
    bench = make()
    data = bench.put(MiB)
    bench.store.failures = [Unavailable("503"), AccessDenied("403")]
    content = bench.reader.open("k", "e1", len(data))
    with pytest.raises(Unavailable):
        read(content, 0, 4096)
    with pytest.raises(AccessDenied):
        read(content, 0, 4096)
    assert read(content, 0, 4096) == data[:4096]
    content.close()


def test_an_answer_that_ends_early_is_no_content(make: Make) -> None:
    """Bytes the store didn't deliver are an error, never what the buffer held before."""
    bench = make()
    data = bench.put(MiB)
    content = bench.reader.open("k", "e1", 2 * MiB)
    with pytest.raises(Unavailable):
        read(content, 0, 2 * MiB)
    assert read(content, 0, MiB) == data
    content.close()


def test_a_bug_in_the_store_is_an_error_for_who_waits(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for ever for a thread that died."""
    bench = make()
    bench.store.objects["k"] = None  # type: ignore[assignment] # the bug
    content = bench.reader.open("k", "e1", MiB)
    with pytest.raises(Unavailable):
        read(content, 0, 4096)
    assert "bug in a GET" in caplog.text
    content.close()


def test_reads_go_on_under_the_new_identity(make: Make) -> None:
    """After our own copy the same bytes are asked for by their new key and ETag."""
    bench = make()
    data = bench.put(4 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    read(content, 0, 4096)
    bench.store.objects = {"new": ("e2", data)}
    content.renamed("new", "e2")
    assert read(content, 0, len(data)) == data
    assert bench.store.fetched == len(data)
    assert bench.reader.open("new", "e2", len(data)) is content
    content.close()
    content.close()


def test_a_get_that_meets_our_own_copy_waits_for_its_outcome(make: Make) -> None:
    """Stale while we replace the object ourselves isn't the application's error."""
    bench = make()
    data = bench.put(MiB)
    content = bench.reader.open("k", "e1", len(data))
    bench.store.objects = {"new": ("e2", data)}
    with ThreadPoolExecutor(1) as pool:
        with content.moving():
            waiting = pool.submit(read, content, 0, MiB)
            wait_for(lambda: len(bench.store.gets) == 1)
            content.renamed("new", "e2")
        assert waiting.result(10) == data
    content.close()


def test_a_copy_that_failed_leaves_the_error(make: Make) -> None:
    """When the move ends without a new identity, who waited gets the store's answer."""
    bench = make()
    content = bench.reader.open("gone", "e1", MiB)
    with ThreadPoolExecutor(1) as pool:
        with content.moving():
            waiting = pool.submit(read, content, 0, MiB)
            wait_for(lambda: len(bench.store.gets) == 1)
        with pytest.raises(Exception, match="gone"):
            waiting.result(10)
    content.close()


def test_a_jump_gives_up_what_is_queued_for_the_old_place(make: Make) -> None:
    """After seeking away only what is in flight still arrives."""
    bench = make(limits=ReadLimits(parallel=2, part=MiB))
    data = bench.put(128 * MiB)
    bench.store.gate, bench.store.gated = threading.Event(), lambda offset: offset >= 8 * MiB
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer = content.stream(), bytearray(256 * KiB)
    for offset in range(0, 8 * MiB, len(buffer)):
        content.read_into(offset, memoryview(buffer), stream)
    wait_for(lambda: bench.store.running == 1)
    bench.store.gated = lambda offset: False
    content.read_into(100 * MiB, memoryview(buffer), stream)
    bench.store.gate.set()
    wait_for(lambda: content.pending == 0)
    assert sum(1 for offset, _ in bench.store.gets if 8 * MiB <= offset < 100 * MiB) == 1
    content.close()


def test_closing_the_last_handle_stops_reading_ahead(make: Make) -> None:
    """What is in flight ends and is kept on disk; buffers and descriptors go."""
    bench = make(limits=ReadLimits(parallel=2, part=MiB))
    data = bench.put(64 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    stream, buffer = content.stream(), bytearray(MiB)
    for offset in range(0, 4 * MiB, MiB):
        content.read_into(offset, memoryview(buffer), stream)
    content.close()
    wait_for(lambda: content.pending == 0)
    assert bench.store.fetched < len(data)
    wait_for(lambda: bench.reader.memory == 0)  # a fetch gives its buffer back a moment later
    assert bench.cache.peek("k", "e1")


def test_closing_the_reader_wakes_who_waits(make: Make) -> None:
    """At the end a stalled store keeps neither readers nor the process."""
    bench = make()
    bench.store.gate, bench.store.stop_after = threading.Event(), 0
    data = bench.put(MiB)
    content = bench.reader.open("k", "e1", len(data))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, content, 0, 4096)
        wait_for(lambda: bench.store.running == 1)
        closing = threading.Thread(target=bench.reader.close)
        closing.start()
        with pytest.raises(Unavailable):
            waiting.result(10)
        bench.store.gate.set()
        closing.join(10)
    with pytest.raises(Unavailable):
        read(content, MiB // 2, 4096)
    content.close()


def test_threads_and_descriptors_are_given_back(make: Make) -> None:
    """After closing there are as many of both as before."""
    threads, fds = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    bench = make()
    data = bench.put(16 * MiB)
    for _ in range(3):
        content = bench.reader.open("k", "e1", len(data))
        read_through(content)
        content.close()
    bench.close()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == fds


def test_a_whole_file_has_a_descriptor_for_the_kernel(make: Make) -> None:
    """Once all is on disk, the handle can be read without us."""
    bench = make()
    data = bench.put(3 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert content.whole_fd() == -1
    read_through(content)
    wait_for(lambda: content.pending == 0)
    assert Path(f"/proc/self/fd/{content.whole_fd()}").read_bytes() == data
    content.close()


def test_a_block_damaged_on_disk_is_fetched_again(make: Make) -> None:
    """A flipped bit costs one GET of one block and is never seen."""
    bench = make()
    data = bench.put(MiB)
    content = bench.reader.open("k", "e1", len(data))
    read_through(content)
    content.close()
    wait_for(lambda: content.pending == 0)
    with next(bench.cache.root.rglob("*.data")).open("r+b") as file:
        file.seek(300 * KiB)
        file.write(b"damage")
    bench.store.gets.clear()
    content = bench.reader.open("k", "e1", len(data))
    assert read_through(content) == data
    assert bench.store.gets == [(2 * BLOCK, BLOCK)]
    content.close()
