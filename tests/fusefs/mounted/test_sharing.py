"""Names that other clients made: seen when they are asked for, whatever was listed before.

`watchful` remembers no "not there" at all, `patient` remembers it for a minute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Place, Share, Shared
from tests.proxy.exchange import Requests
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Endpoint


@pytest.fixture(scope="module")
def watching(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount that asks each time for what isn't there."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy, "--negative-ttl", "0") as shared:
        yield shared


@pytest.fixture(scope="module")
def remembering(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount that remembers for a minute what isn't there."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy, "--negative-ttl", "60s") as shared:
        yield shared


@pytest.fixture
def watchful(watching: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory with one file, listed by a mount that remembers no miss."""
    with watching.place(request) as place:
        place.keys.put("f", b"x")
        assert os.listdir(place.path) == ["f"]
        yield place


@pytest.fixture
def patient(remembering: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The same by a mount that remembers misses; `new` is one of them."""
    with remembering.place(request) as place:
        place.keys.put("f", b"x")
        assert os.listdir(place.path) == ["f"]
        assert not (place / "new").exists()
        yield place


def count(shared: Shared, names: list[Path]) -> Requests:
    """Return the requests of looking for these names, of which none is there."""
    assert shared.proxy is not None
    with shared.proxy.counting() as seen:
        assert not any(name.exists() for name in names)
        shared.proxy.settle()
    return seen


@pytest.mark.parametrize("name", ["w", "ext/deep/x"])
def test_a_name_that_another_pod_made_after_the_listing(watchful: Place, name: str) -> None:
    """It opens at once, also where its directories are as new."""
    watchful.keys.put(name, b"theirs")
    assert (watchful / name).read_bytes() == b"theirs"
    assert (watchful / name).stat().st_size == 6


def test_a_name_that_was_missed_and_made_again(watchful: Place) -> None:
    """Also one that this mount looked for, or removed, a moment ago."""
    assert not (watchful / "w").exists()
    watchful.keys.put("w", b"theirs")
    assert (watchful / "w").read_bytes() == b"theirs"
    (watchful / "w").unlink()
    watchful.keys.put("w", b"again")
    assert (watchful / "w").read_bytes() == b"again"


def test_what_a_search_along_a_path_costs(
    remembering: Shared, request: pytest.FixtureRequest
) -> None:
    """Each name that isn't there costs one HEAD and one LIST, and none while that is known."""
    with remembering.place(request) as place:
        place.keys.put_many(f"bin{number}/tool" for number in range(5))
        searched = [place / f"bin{number}" / "absent" for number in range(5)]
        assert all(name.parent.is_dir() for name in searched)
        assert count(remembering, searched).operations == {"HeadObject": 5, "ListObjectsV2": 5}
        assert count(remembering, searched).operations == {}


@pytest.mark.savings
def test_what_a_search_in_listed_directories_costs(watching: Shared, watchful: Place) -> None:
    """One LIST each where that tells of all names: a listing knows no misses for long."""
    searched = [watchful / f"absent{number}" for number in range(5)]
    assert count(watching, searched).operations == {"ListObjectsV2": 5}


def test_a_search_in_a_directory_just_listed_costs_nothing(
    remembering: Shared, patient: Place
) -> None:
    """A listing knows what isn't there for as long as the answer for one name would."""
    assert count(remembering, [patient / "no", patient / "neither"]).operations == {}


@pytest.mark.savings
def test_creating_a_new_file_asks_once(watching: Shared, watchful: Place) -> None:
    """The lookup that the kernel sends before is the question: a LIST and the PUT."""
    assert watching.proxy is not None
    (watchful / "first").write_bytes(b"")  # before it, the store was asked what it honours
    with watching.proxy.counting() as seen:
        (watchful / "new").write_bytes(b"ours")
        watching.proxy.settle()
    assert seen.operations == {"ListObjectsV2": 1, "PutObject": 1}


def test_opening_to_create_finds_the_file_of_another_pod(patient: Place) -> None:
    """Also when it was looked for in vain just before: no conflict, and nothing is lost."""
    patient.keys.put("new", b"theirs")
    with (patient / "new").open("ab") as file:
        file.write(b" and ours")
    assert patient.keys.get("new") == b"theirs and ours"


def test_creating_exclusively_what_another_pod_has_made(patient: Place) -> None:
    """EEXIST."""
    patient.keys.put("new", b"theirs")
    with pytest.raises(FileExistsError):
        (patient / "new").open("x")
    assert patient.keys.get("new") == b"theirs"


def test_making_a_directory_that_another_pod_has_made(patient: Place) -> None:
    """EEXIST, also where it has no marker."""
    patient.keys.put("new/x", b"theirs")
    with pytest.raises(FileExistsError):
        (patient / "new").mkdir()


def test_renaming_onto_what_another_pod_has_made(patient: Place) -> None:
    """A file doesn't take the place of a directory."""
    patient.keys.put("new/x", b"theirs")
    with pytest.raises(IsADirectoryError):
        (patient / "f").rename(patient / "new")
    assert patient.keys.get("f") == b"x"


def test_opening_to_create_what_another_pod_has_removed(patient: Place) -> None:
    """It is made anew, though its name is still trusted."""
    assert (patient / "f").stat().st_size == 1
    patient.keys.delete("f")
    with (patient / "f").open("ab") as file:
        file.write(b"ours")
    assert patient.keys.get("f") == b"ours"


def test_a_name_that_a_newer_listing_shows_is_there(
    store: Endpoint, share: Share, request: pytest.FixtureRequest
) -> None:
    """Whatever was remembered before that listing: `ls` and `stat` agree."""
    words = ("--attr-ttl", "0", "--negative-ttl", "60s")
    with share(store, None, *words) as shared, shared.place(request) as place:
        place.keys.put("f", b"x")
        assert not os.path.exists(place.path / "new")
        place.keys.put("new", b"x")
        assert sorted(os.listdir(place.path)) == ["f", "new"]
        assert os.path.exists(place.path / "new")
