"""What a refused commit means, over a bucket in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.errors import Stale, Unavailable
from fusefs.write.filecontent import FileContent
from tests.fusefs.memorystore import NOW, MemoryMount
from tests.fusefs.workbench import posix


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """Files over a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def opened(mount: MemoryMount, key: str) -> FileContent:
    """Open an object for writing."""
    return mount.contents.new(key, mount.store.head(key), posix())


def created(mount: MemoryMount, key: str, flags: int = 0) -> FileContent:
    """Begin a file that isn't there."""
    content = mount.contents.new(key, None, posix())
    content.create(flags)
    return content


def lose_answers(mount: MemoryMount) -> None:
    """Have PUTs carried out whose answers get lost."""

    def lost(key: str) -> None:
        raise Unavailable(f"{key}: the connection ended")

    mount.store.after = lost


def test_our_own_lost_try_is_no_conflict(mount: MemoryMount) -> None:
    """The object is there with our attributes: the next commit finds it and sends nothing."""
    file = created(mount, "f")
    file.write(0, b"data")
    lose_answers(mount)
    with pytest.raises(Unavailable):
        file.commit()
    mount.store.asked.clear()
    assert file.commit() and not file.dirty
    assert mount.store.asked == {"head": 1}


def test_changes_after_a_lost_try_go_on_from_it(mount: MemoryMount) -> None:
    """The object is an earlier state of the file, so it is replaced."""
    file = created(mount, "f")
    file.write(0, b"data")
    lose_answers(mount)
    with pytest.raises(Unavailable):
        file.commit()
    mount.store.after = lambda _key: None
    file.write(4, b" and more")
    file.commit()
    assert mount.store.content("f") == b"data and more"


def test_the_later_of_two_writers_loses_and_is_kept(mount: MemoryMount) -> None:
    """ESTALE, the other's bytes in the bucket, ours in `conflicts`."""
    mount.store.others_put("f", b"old")
    file = opened(mount, "f")
    file.write(0, b"ours")
    mount.store.others_put("f", b"theirs")
    with pytest.raises(Stale):
        file.commit()
    [kept] = mount.staging.conflicts.glob("*.data")
    assert mount.store.content("f") == b"theirs" and kept.read_bytes() == b"ours"


def test_the_later_writer_wins_where_that_is_asked_for(tmp_path: Path) -> None:
    """`--on-conflict overwrite`, of a file that was written as a whole."""
    with MemoryMount(tmp_path, overwrites=True) as mount:
        mount.store.others_put("f", b"old")
        file = opened(mount, "f")
        file.write(0, b"ours")
        mount.store.others_put("f", b"theirs")
        file.commit()
        assert mount.store.content("f") == b"ours"


@pytest.mark.parametrize(("flag", "outcome"), [(os.O_TRUNC, b"ours"), (os.O_APPEND, b"there ours")])
def test_an_open_on_a_stale_listing_is_done_on_what_was_there(
    mount: MemoryMount, flag: int, outcome: bytes
) -> None:
    """Its writer had closed before: O_TRUNC replaces the object, O_APPEND goes on at its end."""
    file = created(mount, "f", flag)
    file.write(0, b" ours" if flag == os.O_APPEND else b"ours")
    info = mount.store.others_put("f", b"there")
    mount.store.age(info, NOW - 10)
    file.commit()
    assert mount.store.content("f") == outcome


def test_a_deleted_object_is_a_conflict_too(mount: MemoryMount) -> None:
    """What others deleted isn't made anew by an edit."""
    mount.store.others_put("f", b"old")
    file = opened(mount, "f")
    file.write(0, b"ours")
    mount.store.delete("f")
    with pytest.raises(Stale):
        file.commit()
    assert mount.store.keys() == []
