"""Requests that needn't be made: what many files cost, counted exactly, and what stays true.

Budgets hold for a mount as it is by default. What others see and what is seen of others is the same
with each saving left out (`--without`), so those tests run in both kinds of mount.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest

from fusefs.mount.settings import SAVINGS
from tests.fusefs.mounted.conftest import Place, Share, Shared
from tests.fusefs.mounted.test_read import content
from tests.proxy.exchange import Requests
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Endpoint

KIB = 1024
ALL = ",".join(SAVINGS)
SMALL = content(16 * KIB)


@pytest.fixture(scope="module")
def plain(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount that saves nothing."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy, "--without", ALL) as shared:
        yield shared


@pytest.fixture(params=["saving", "plain"])
def either(request: pytest.FixtureRequest, tapped: Shared, plain: Shared) -> Shared:
    """A mount of each kind."""
    return tapped if request.param == "saving" else plain


@pytest.fixture
def given(tapped: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory that the mount has never heard of."""
    with tapped.place(request) as place:
        yield place


@pytest.fixture
def untaught(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount of its own: one that has learned nothing from other tests of how likely opens are."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy) as shared:
        yield shared


@pytest.fixture
def anywhere(either: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The same in a mount of either kind."""
    with either.place(request) as place:
        yield place


def cost(shared: Shared, call: Callable[[], object]) -> Requests:
    """Return the requests of a call and of what it leaves running."""
    assert shared.proxy is not None
    shared.proxy.settle()
    with shared.proxy.counting() as seen:
        call()
        shared.proxy.settle()
    return seen


def read_all(paths: list[Path], threads: int) -> None:
    """Read files, so many at a time."""
    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(lambda path: path.read_bytes() == SMALL, paths))


# -- lookups -------------------------------------------------------------------------------------


@pytest.mark.savings
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("order", [1, 7])
def test_reading_files_of_a_directory_nobody_listed(
    untaught: Shared, threads: int, order: int, request: pytest.FixtureRequest
) -> None:
    """One GET a file, and four requests for all of them, whatever the order."""
    with untaught.place(request) as given:
        given.keys.put_many((f"{number:03}" for number in range(200)), SMALL)
        assert given.path.is_dir()
        paths = [given / f"{number * order % 200:03}" for number in range(200)]
        seen = cost(untaught, lambda: read_all(paths, threads))
    assert seen.operations["GetObject"] == 200
    assert len(seen) <= 204, seen.operations


@pytest.mark.savings
def test_the_first_byte_of_a_large_file_nobody_has_looked_at(
    untaught: Shared, request: pytest.FixtureRequest
) -> None:
    """One round trip: its name and its first bytes are asked for at once."""
    with untaught.place(request) as given:
        given.keys.put("large", content(4 << 20))
        assert given.path.is_dir()

        def first() -> None:
            with (given / "large").open("rb", buffering=0) as opened:
                assert opened.read(1) == content(4 << 20)[:1]

        seen = cost(untaught, first)
    assert seen.operations == {"GetObject": 1, "ListObjectsV2": 1}


@pytest.mark.savings
def test_removing_files_of_a_directory_nobody_listed(tapped: Shared, given: Place) -> None:
    """One DELETE a file, and four requests for all of them in the 5 s that a listing is trusted."""
    given.keys.put_many((f"{number:03}" for number in range(100)), SMALL)
    assert given.path.is_dir()
    paths = [given / f"{number:03}" for number in range(100)]
    began = monotonic()
    seen = cost(tapped, lambda: [path.unlink() for path in paths])
    assert seen.operations["DeleteObject"] == 100
    assert len(seen) <= 100 + 4 * (1 + int((monotonic() - began) / 5))


@pytest.mark.savings
@pytest.mark.parametrize(("mode", "puts"), [("wb", 1), ("xb", 2)])
def test_creating_files_in_a_known_directory(
    tapped: Shared, given: Place, mode: str, puts: int
) -> None:
    """One question a file, whether others have made it, and one PUT; two where it is exclusive."""
    given.keys.put("first")
    assert wait_for(lambda: given.path.is_dir())
    os.listdir(given.path)
    sleep(1.1)  # what was listed just now answers by itself

    def create() -> None:
        for number in range(10):
            with (given / f"{number:03}").open(mode) as file:
                file.write(SMALL)

    seen = cost(tapped, create)
    assert seen.operations == {"PutObject": 10 * puts, "ListObjectsV2": 10}


@pytest.mark.savings
def test_two_names_of_a_large_directory_cost_one_page(tapped: Shared, given: Place) -> None:
    """Not all of its names: a page more is asked for after each few names beyond the pages."""
    given.keys.put_many((f"{number:05}" for number in range(2500)), b"x")
    assert given.path.is_dir()
    seen = cost(tapped, lambda: [(given / f"{number:05}").stat() for number in (2499, 2490, 2481)])
    lists = seen.of("ListObjectsV2")
    assert sum(exchange.query["max-keys"] == "1000" for exchange in lists) == 1
    assert len(seen) <= 7


# -- walks ---------------------------------------------------------------------------------------


def tree_of(place: Place, directories: int, files: int) -> list[str]:
    """Store files in directories, two levels deep, without markers; return their paths."""
    names = [
        f"{directory:02}/{sub}/{file:03}"
        for directory in range(directories)
        for sub in "ab"
        for file in range(files // 2)
    ]
    place.keys.put_many(names, SMALL)
    return names


def walked(path: Path) -> list[str]:
    """Return all files below a directory, as os.walk tells of them."""
    found = [Path(root, name) for root, _, names in os.walk(path) for name in names]
    return sorted(str(each.relative_to(path)) for each in found)


@pytest.mark.savings
def test_a_walk_lists_what_is_below_at_once(tapped: Shared, given: Place) -> None:
    """Two LISTs find out that it is one; then a thousand keys a LIST, whatever their directory."""
    names = tree_of(given, 20, 100)
    assert given.path.is_dir()
    seen = cost(tapped, lambda: walked(given.path) == names)
    lists = seen.of("ListObjectsV2")
    assert len(lists) <= 8
    assert sum("delimiter" not in exchange.query for exchange in lists) <= 4
    assert len(seen) <= 16, "of directories that nothing was known of, the marker is asked for"
    assert walked(given.path) == names


def test_a_walk_finds_what_is_there(anywhere: Place) -> None:
    """All of it, once, also when names are made and removed meanwhile."""
    names = tree_of(anywhere, 6, 10)
    found, made = [], []
    for root, _, files in os.walk(anywhere.path):
        found += [str(Path(root, name).relative_to(anywhere.path)) for name in files]
        if root.endswith("/01/a"):
            for name in ("05/a/new", "05/a/own"):
                made.append(name)
                (anywhere / name).write_bytes(b"new")
            (anywhere / "04/b/001").unlink()
            names.remove("04/b/001")
    assert sorted(found) == sorted([*names, *made])


def test_removing_a_tree_of_many_directories(anywhere: Place) -> None:
    """Nothing is left, and nothing that was removed is told again."""
    tree_of(anywhere, 12, 10)
    shutil.rmtree(anywhere / "03")
    shutil.rmtree(anywhere.path)
    assert anywhere.keys.keys() == []


# -- what stays true -----------------------------------------------------------------------------


def test_a_listing_for_lookups_is_not_what_ls_shows(anywhere: Place) -> None:
    """`ls` of a directory that nobody has listed tells of what is there now."""
    anywhere.keys.put("a", SMALL)
    anywhere.keys.put("b", SMALL)
    assert (anywhere / "a").exists() and (anywhere / "b").exists()
    anywhere.keys.put("c", SMALL)
    assert sorted(os.listdir(anywhere.path)) == ["a", "b", "c"]


def test_names_that_others_make_one_after_another(anywhere: Place) -> None:
    """Each opens at once, though the directory has been listed for the ones before."""
    for number in range(12):
        anywhere.keys.put(f"{number}", SMALL)
        assert (anywhere / f"{number}").read_bytes() == SMALL


def test_content_that_others_replace_between_stat_and_open(anywhere: Place) -> None:
    """The open finds it, whatever was fetched for the stat."""
    for number in range(8):
        anywhere.keys.put(f"{number}", b"old")
    for number in range(8):
        assert (anywhere / f"{number}").stat().st_size == 3
        anywhere.keys.put(f"{number}", b"newer")
        assert (anywhere / f"{number}").read_bytes() == b"newer"


def test_content_that_others_replace_between_a_link_count_and_open(anywhere: Place) -> None:
    """The same after calls that look a name up and ask for nothing else (readlink, O_PATH)."""
    for number in range(8):
        anywhere.keys.put(f"{number}", b"old")
    for number in range(8):
        path = anywhere / f"{number}"
        with pytest.raises(OSError, match="Invalid argument"):
            os.readlink(path)
        anywhere.keys.put(f"{number}", b"newer")
        assert path.read_bytes() == b"newer"
        assert path.stat().st_size == 5


def test_content_that_others_replace_after_access_was_checked(anywhere: Place) -> None:
    """The same after access(2), which asks for the permissions alone."""
    for number in range(8):
        anywhere.keys.put(f"{number}", SMALL)
    for number in range(8):
        path = anywhere / f"{number}"
        assert os.access(path, os.R_OK)
        anywhere.keys.put(f"{number}", b"newer")
        assert path.read_bytes() == b"newer"


def test_content_that_others_replace_after_a_truncation_here(anywhere: Place) -> None:
    """What was asked before a change of our own tells nothing of the time after it."""
    for number in range(4):
        anywhere.keys.put(f"{number}", SMALL)
    for number in range(4):
        path = anywhere / f"{number}"
        os.truncate(path, 100)
        anywhere.keys.put(f"{number}", b"newer")
        assert path.read_bytes() == b"newer"


def wait_for(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    """Wait until something is true; say whether it became so in time."""
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(0.05)
    return True
