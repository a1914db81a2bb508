"""The listing of a directory over a store in memory: pages, own changes, cookies."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import Unavailable
from fusefs.names.listing import OWN_MOST, Entry, Listing
from fusefs.names.pagememory import PageMemory
from fusefs.objects import ObjectInfo, Page


@dataclass
class Pages:
    """A store of keys that lists them as S3 does, `limit` a page; counts the LISTs."""

    keys: list[str]
    limit: int = 3
    asked: int = 0
    failures: int = 0
    sorted: bool = True
    behind: list[str | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def list_page(
        self,
        prefix: str,
        delimiter: str = "/",
        token: str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page:
        with self.lock:
            self.asked += 1
            self.behind.append(after)
            if self.failures:
                self.failures -= 1
                raise Unavailable("LIST: the store does not answer")
        rest = [
            item
            for item in self._rolled_up(prefix, delimiter)
            if self._last(item, after) > (token or after or "")
        ]
        page, more = rest[: self.limit], rest[self.limit :]
        objects = tuple(info(key) for key in page if not key.endswith("/") or key == prefix)
        prefixes = tuple(key for key in page if key.endswith("/") and key != prefix)
        return Page(objects, prefixes, page[-1] if more else None)

    def _last(self, item: str, after: str | None) -> str:
        """As in S3: behind the key `a/` comes the rest of what is in `a/`."""
        return (
            max((key for key in self.keys if key.startswith(item)), default=item)
            if after and item.endswith("/")
            else item
        )

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
    while (step := next(listed.steps(position, 1), None)) is not None:
        position, _, name, _ = step
        yield position, name


def names(listed: Listing) -> list[str]:
    """Return what a stream that begins now tells."""
    return [name for _, name in stream(listed.merged())]


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


def test_what_memory_has_no_room_for_is_listed_again_from_there() -> None:
    """One LIST a dropped page, behind the last key before it; a lookup asks for none."""
    keys = [f"d/{number:04}" for number in range(100)] + ["d/dir/x", "d/e"]
    pages = Pages(keys, limit=10)
    memory = PageMemory(4000)
    listed = Listing(pages, "d/", memory)  # type: ignore[arg-type]  # what a listing needs of one
    first = list(stream(listed))
    assert (len(first), pages.asked, listed.complete) == (102, 11, False)
    assert memory.used <= 4000
    assert listed.get("0005") is None
    assert pages.asked == 11
    assert list(stream(listed)) == first
    assert pages.behind[11:13] == [None, "d/0009"]
    assert pages.asked <= 22


def test_a_page_that_is_listed_again_has_no_name_twice_and_none_less() -> None:
    """Who stopped in the middle of it goes on behind the key told last, whatever came or went."""
    pages = Pages([f"d/{number:02}" for number in range(20)], limit=10)
    listed = Listing(pages, "d/", PageMemory(1))  # type: ignore[arg-type]  # as above
    told = [(place, key) for place, key, *_ in listed.steps(0, 15)]
    next(stream(listed))  # its page takes the place of the second in memory
    pages.keys = [key for key in pages.keys if key not in ("d/11", "d/12")] + ["d/105", "d/145"]
    place, key = told[-1]
    rest = [name for *_, name, _ in listed.steps(place, 100, key)]
    assert rest == ["145", "15", "16", "17", "18", "19"]


def test_a_listing_can_begin_behind_a_key() -> None:
    """With one LIST for what follows; behind a directory without telling it again."""
    pages = Pages(["d/a", "d/b/1", "d/b/2", "d/c", "d/d"], limit=10)
    listed = Listing(pages, "d/", behind="b/")  # type: ignore[arg-type]  # as above
    assert names(listed) == ["c", "d"]
    assert (pages.asked, listed.complete, listed.get("a")) == (1, False, None)


def test_a_listing_without_order_is_read_whole_and_sorted() -> None:
    """As of directory buckets: each name once, in the order every other store has."""
    pages = Pages(["d/a", "d/b/1", "d/c", "d/d"], limit=10, sorted=False)
    answers = {None: ("d/d", "d/a", "2"), "2": ("d/c", "d/b/", None)}

    def unordered(_: str, token: str | None = None) -> Page:
        one, two, more = answers[token]
        found = [key for key in (one, two) if key and not key.endswith("/")]
        prefixes = [key for key in (one, two) if key and key.endswith("/")]
        return Page(tuple(map(info, found)), tuple(prefixes), more)

    pages.list_page = unordered  # type: ignore[method-assign,assignment]  # a store of its own kind
    listed = Listing(pages, "d/", PageMemory(1))  # type: ignore[arg-type]  # as above
    assert names(listed) == ["a", "b", "c", "d"]
    assert listed.complete


def test_pages_that_overlap_lose_no_name() -> None:
    """SeaweedFS sorts `a/` before `a-b`, which its pages show where one ends between them."""
    pages = Pages([])
    answers = {None: Page((), ("d/a/",), "2"), "2": Page((info("d/a-b"), info("d/c")), ("d/a/",))}
    pages.list_page = lambda _, token=None: answers[token]  # type: ignore[method-assign,assignment]  # as above
    listed = Listing(pages, "d/")  # type: ignore[arg-type]  # as above
    assert names(listed) == ["a", "a-b", "c"]
    assert listed.get("a-b") == Entry(directory=False, info=info("d/a-b"))


def test_names_of_our_own_have_their_place_among_the_rest() -> None:
    """For streams that begin later; one that goes on misses them, or not, but tells none twice."""
    listed, _ = listing(["d/a", "d/c", "d/e"], limit=2)
    before = stream(listed)
    assert next(before)[1] == "a"
    for name in ("b", "d", "f"):
        listed.put(name, Entry(directory=name == "d", info=None))
    merged = listed.merged()
    merged.put("g", Entry(directory=False))
    merged.remove("e")
    assert names(merged) == ["a", "b", "c", "d", "f", "g"]
    assert next(before)[1] == "c"
    assert merged.merged().merged().get("b") == Entry(directory=False)


def test_a_directory_full_of_our_own_isn_t_remembered_without_end() -> None:
    """It says so, and is listed when somebody asks again."""
    listed = Listing.empty(Pages([]), "d/")  # type: ignore[arg-type]  # as above
    for number in range(OWN_MOST):
        assert listed.put(str(number), Entry(directory=False))
    assert not listed.put("one more", Entry(directory=False))


def test_memory_of_listings_that_nobody_has_any_more_is_given_back() -> None:
    """By the time the next page comes."""
    memory = PageMemory(1 << 20)
    for _ in range(3):
        listed = Listing(Pages(["d/a"]), "d/", memory)  # type: ignore[arg-type]  # as above
        listed.load()
    one = memory.used
    for _ in range(3):
        listed = Listing(Pages(["d/a"]), "d/", memory)  # type: ignore[arg-type]  # as above
        listed.load()
    assert memory.used == one


NAMES = st.sampled_from(["a", "a-b", "b", "c", "new", "old"])
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "remove", "read", "again"]), NAMES))


@given(st.sets(NAMES), CHANGES, st.integers(1, 4), st.sampled_from([1, 1 << 20]))
def test_a_stream_tells_each_name_at_most_once_and_none_is_lost(
    there: set[str], changes: list[tuple[str, str]], limit: int, memory: int
) -> None:
    """Whatever is created and removed meanwhile; a cookie may be used again and goes on alike."""
    pages = Pages([f"d/{name}" for name in there], limit)
    listed = Listing(pages, "d/", PageMemory(memory))  # type: ignore[arg-type]  # as above
    position, key, told, touched = 0, None, [], set()
    for change, name in changes:
        if change == "put":
            listed.put(name, Entry(directory=False))
            touched.add(name)
        elif change == "remove":
            listed.remove(name)
            touched.add(name)
        elif found := list(listed.steps(position, 1, key)):
            assert list(listed.steps(position, 1, key)) == found
            if change == "read":
                position, key, *_ = found[0]
                told.append(key)
    told += [name for _, _, name, _ in listed.steps(position, 100, key)]
    assert len(told) == len(set(told))
    assert there - touched <= set(told) <= there | touched
