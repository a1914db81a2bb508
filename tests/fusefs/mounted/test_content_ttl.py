"""`--content-ttl`: small files fetched ahead, and names that a listing lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fusefs.mounted.conftest import Place, Share, Shared
from tests.fusefs.mounted.test_savings import SMALL, cost, read_all
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Endpoint


@pytest.fixture(scope="module")
def sweeping(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount whose opens trust for a minute what S3 has told of a version."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy, "--content-ttl", "60s") as shared:
        yield shared


@pytest.fixture
def swept(sweeping: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory with 120 small files."""
    with sweeping.place(request) as place:
        place.keys.put_many((f"{number:03}" for number in range(120)), SMALL)
        assert place.path.is_dir()
        yield place


@pytest.mark.savings
def test_small_files_are_fetched_ahead(sweeping: Shared, swept: Place) -> None:
    """In the listing's order, more for each open that came too early; they cost nothing later."""
    first = [swept / f"{number:03}" for number in range(10, 20)]
    seen = cost(sweeping, lambda: read_all(first, 1))
    assert 18 <= len(seen.of("GetObject")) <= 10 + 64
    later = [swept / f"{number:03}" for number in range(20, 45)]
    fetched = {exchange.key for exchange in seen.of("GetObject")}
    again = cost(sweeping, lambda: read_all(later, 1))
    assert not fetched.intersection(exchange.key for exchange in again)


@pytest.mark.savings
def test_an_epoch_in_any_order_and_another(sweeping: Shared, swept: Place) -> None:
    """One GET a file whatever the order, but where two began in the same moment; then none."""
    paths = [swept / f"{number * 7 % 120:03}" for number in range(120)]
    seen = cost(sweeping, lambda: read_all(paths, 8))
    stored = swept.keys.keys()
    fetched = [exchange.key.removeprefix(swept.keys.prefix) for exchange in seen.of("GetObject")]
    assert sorted(set(fetched)) == stored
    assert len(seen) <= 120 + 2 * 8, seen.operations
    again = cost(sweeping, lambda: read_all(paths[::-1], 8))
    assert set(again.operations) <= {"ListObjectsV2"}
    assert len(again) <= 2


def test_own_changes_are_seen_whatever_was_fetched_ahead(swept: Place) -> None:
    """The trust is in what others leave alone."""
    read_all([swept / f"{number:03}" for number in range(10)], 1)
    (swept / "015").write_bytes(b"changed here")
    (swept / "016").unlink()
    (swept / "017").rename(swept / "018")
    assert (swept / "015").read_bytes() == b"changed here"
    assert not (swept / "016").exists()
    assert (swept / "018").read_bytes() == SMALL


# -- absent names --------------------------------------------------------------------------------


@pytest.fixture
def listed(sweeping: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory of many names that was listed; then others have made the file `other`."""
    with sweeping.place(request, "another writer was first") as place:
        place.keys.put_many(f"{number:03}" for number in range(120))
        assert len(os.listdir(place.path)) == 120
        place.keys.put("other", b"theirs")
        yield place


def test_new_names_in_a_listed_directory_cost_their_put(sweeping: Shared, listed: Place) -> None:
    """With --content-ttl the listing tells that a name isn't there: one PUT a file."""
    (listed / "first").write_bytes(SMALL)  # after it the store's ways are known
    seen = cost(sweeping, lambda: [(listed / f"n{n}").write_bytes(SMALL) for n in range(10)])
    assert seen.operations == {"PutObject": 10}
    assert {each.condition for each in seen} == {"If-None-Match: *"}


def test_an_exclusive_file_in_a_listed_directory(sweeping: Shared, listed: Place) -> None:
    """Two PUTs, the first of which decides who makes it."""
    with pytest.raises(FileExistsError):
        (listed / "other").open("xb")
    assert listed.keys.get("other") == b"theirs"

    def make() -> None:
        with (listed / "new").open("xb") as file:
            file.write(SMALL)

    assert cost(sweeping, make).operations == {"PutObject": 2}


def test_a_file_that_others_made_after_the_listing_is_not_overwritten(listed: Place) -> None:
    """The PUT's condition finds it: the close fails, as if it had been made after the open."""
    descriptor = os.open(listed / "other", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, b"ours")
    with pytest.raises(OSError, match="Stale"):
        os.close(descriptor)
    assert listed.keys.get("other") == b"theirs"


def test_what_isnt_made_by_a_conditional_put_asks_for_its_name(listed: Place) -> None:
    """Directories, links and targets of renames find what others made."""
    with pytest.raises(FileExistsError):
        (listed / "other").mkdir()
    with pytest.raises(FileExistsError):
        (listed / "other").symlink_to("000")
    assert (listed / "other").read_bytes() == b"theirs"


def test_own_names_come_and_go_whatever_the_listing_had(listed: Place) -> None:
    """The listing has our own changes in it."""
    (listed / "000").unlink()
    (listed / "001").rename(listed / "new")
    assert not (listed / "000").exists() and not (listed / "001").exists()
    (listed / "001").write_bytes(b"again")
    assert (listed / "001").read_bytes() == b"again" and (listed / "new").exists()
    (listed / "d").mkdir()
    (listed / "d" / "f").write_bytes(SMALL)
    assert (listed / "d" / "f").read_bytes() == SMALL
