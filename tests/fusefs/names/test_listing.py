"""The listing of a directory over a store in memory: pages, own changes, cookies."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import Unavailable
from fusefs.names.listing import Entry, Listing
from fusefs.objects import ObjectInfo, Page


@dataclass
class Pages:
    """A store of keys that lists them as S3 does, `limit` a page; counts the LISTs."""

    keys: list[str]
    limit: int = 3
    asked: int = 0
    failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def list_page(
        self, prefix: str, delimiter: str = "/", token: str | None = None, limit: int = 1000
    ) -> Page:
        with self.lock:
            self.asked += 1
            if self.failures:
                self.failures -= 1
                raise Unavailable("LIST: the store does not answer")
        rest = [
            item for item in self._rolled_up(prefix, delimiter) if token is None or item > token
        ]
        page, more = rest[: self.limit], rest[self.limit :]
        objects = tuple(info(key) for key in page if not key.endswith("/") or key == prefix)
        prefixes = tuple(key for key in page if key.endswith("/") and key != prefix)
        return Page(objects, prefixes, page[-1] if more else None)

    def _rolled_up(self, prefix: str, delimiter: str) -> list[str]:
        under = [key for key in self.keys if key.startswith(prefix)]
        below = [key[len(prefix) :].partition(delimiter) for key in under]
        return sorted({prefix + name + slash for name, slash, _ in below})


def info(key: str) -> ObjectInfo:
    return ObjectInfo(key, 1, f"etag of {key}", 0.0)


def listing(keys: list[str], prefix: str = "d/", limit: int = 3) -> tuple[Listing, Pages]:
    pages = Pages(keys, limit)
    return Listing(pages, prefix), pages  # type: ignore[arg-type]  # what a listing needs of one


def stream(listed: Listing, position: int = 0) -> Iterator[tuple[int, str]]:
    while (step := listed.step(position)) is not None:
        position, name, _ = step
        yield position, name


def names(listed: Listing) -> list[str]:
    return [name for _, name in stream(listed)]


def test_files_and_directories_come_in_the_order_of_s3() -> None:
    """`a-b` before `a/`; over several pages, with as few LISTs as there are pages."""
    listed, pages = listing(["d/", "d/a-b", "d/a/x", "d/b", "d/c/", "d/c/y", "e"], limit=2)
    assert names(listed) == ["a-b", "a", "b", "c"]
    assert listed.get("a") == Entry(directory=True)
    assert listed.get("b") == Entry(directory=False, info=info("d/b"))
    assert listed.marker == info("d/")
    assert pages.asked == 3


def test_pages_are_asked_for_when_they_are_needed() -> None:
    """Who reads three names of a huge directory waits for one page."""
    listed, pages = listing([f"d/{number:04}" for number in range(1000)], limit=100)
    steps = stream(listed)
    assert [next(steps)[1] for _ in range(3)] == ["0000", "0001", "0002"]
    assert (pages.asked, listed.complete) == (1, False)
    listed.load()
    assert (pages.asked, listed.complete) == (10, True)


def test_each_page_is_asked_for_once_by_many_readers() -> None:
    """Two `ls` at once cost what one costs."""
    listed, pages = listing([f"d/{number:04}" for number in range(200)], limit=10)
    told: list[list[str]] = []
    threads = [threading.Thread(target=lambda: told.append(names(listed))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert pages.asked == 20
    assert told == [sorted(told[0])] * 8


def test_our_own_changes_are_newer_than_any_page() -> None:
    """Created, changed and removed names stay so when a page that still has the old comes in."""
    listed, _ = listing(["d/a", "d/b", "d/c", "d/d"], limit=1)
    listed.put("zz", Entry(directory=False, info=info("d/zz")))
    listed.put("b", Entry(directory=True))
    listed.remove("c")
    listed.remove("never-there")
    assert sorted(names(listed)) == ["a", "b", "d", "zz"]
    assert listed.get("b") == Entry(directory=True)
    assert listed.get("c") is None


def test_what_was_removed_can_come_back() -> None:
    """In its old place, once."""
    listed, _ = listing(["d/a", "d/b"])
    listed.load()
    listed.remove("a")
    assert names(listed) == ["b"]
    listed.put("a", Entry(directory=False))
    assert names(listed) == ["a", "b"]


def test_a_directory_hides_a_file_of_its_name() -> None:
    """Its content must stay reachable; whichever comes first."""
    for limit in (1, 10):
        listed, _ = listing(["d/x", "d/x/y"], limit=limit)
        assert names(listed) == ["x"]
        assert listed.get("x") == Entry(directory=True)


def test_keys_that_are_no_names_are_left_out() -> None:
    """`a//b`, `.`, `..` segments, and Hadoop's markers are directories."""
    listed, _ = listing(["d//x", "d/./y", "d/../z", "d/old_$folder$", "d/plain"], limit=2)
    assert sorted(names(listed)) == ["old", "plain"]
    assert listed.get("old") == Entry(directory=True)


def test_a_marker_listed_as_an_object_is_a_directory() -> None:
    """Some stores don't roll `dir/` up; a name with a slash would make the directory unreadable."""
    listed, pages = listing([])
    pages.list_page = lambda *_, **__: Page((info("d/x/"), info("d/y/z")))  # type: ignore[method-assign]  # a store of its own kind
    assert names(listed) == ["x"]
    assert listed.get("x") == Entry(directory=True)


def test_a_whole_bucket_has_an_empty_prefix() -> None:
    """And no marker of its own."""
    listed, _ = listing(["a", "b/c"], prefix="")
    assert names(listed) == ["a", "b"]
    assert listed.marker is None


def test_a_failed_page_is_asked_for_again() -> None:
    """The error reaches who reads; what was there stays, nothing is told twice."""
    listed, pages = listing([f"d/{number}" for number in range(6)], limit=2)
    steps = stream(listed)
    told = [next(steps)[1] for _ in range(2)]
    pages.failures = 1
    with pytest.raises(Unavailable):
        next(steps)
    told += [name for _, name in stream(listed, 2)]
    assert told == [str(number) for number in range(6)]


def test_a_directory_we_made_needs_no_list() -> None:
    """It is known to be empty."""
    pages = Pages(["d/theirs"])
    listed = Listing.empty(pages, "d/")  # type: ignore[arg-type]  # what a listing needs of one
    listed.put("ours", Entry(directory=False))
    assert (names(listed), pages.asked) == (["ours"], 0)


NAMES = st.sampled_from(["a", "a-b", "b", "c", "new", "old"])
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "remove", "read", "again"]), NAMES))


@given(st.sets(NAMES), CHANGES, st.integers(1, 4))
def test_a_stream_tells_each_name_at_most_once_and_none_is_lost(
    there: set[str], changes: list[tuple[str, str]], limit: int
) -> None:
    """Whatever is created and removed meanwhile; a cookie may be used again and goes on alike."""
    listed, _ = listing([f"d/{name}" for name in there], limit=limit)
    position, told, touched = 0, [], set()
    for change, name in changes:
        if change == "put":
            listed.put(name, Entry(directory=False))
            touched.add(name)
        elif change == "remove":
            listed.remove(name)
            touched.add(name)
        elif (step := listed.step(position)) is not None:
            assert listed.step(position) == step
            if change == "read":
                position = step[0]
                told.append(step[1])
    told += [name for _, name in stream(listed, position)]
    assert len(told) == len(set(told))
    assert there - touched <= set(told) <= there | touched
