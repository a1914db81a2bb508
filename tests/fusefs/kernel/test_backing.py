"""One mode per inode: who may read a cache file without us, and who gets another id instead."""

import errno
import tempfile
from collections.abc import Iterator

import pytest

from fusefs.errors import Stale
from fusefs.interface import UNOPENED, WORTHWHILE, Opened
from fusefs.kernel.backing import (
    DIRECT,
    NODE_MASK,
    TURN_SHIFT,
    VERSION,
    Backings,
    inode_number,
)
from fusefs.kernel.registrations import NONE

NODE = 7
NEXT = NODE | 1 << TURN_SHIFT


class Registry:
    """Gives out backing ids and remembers which are in use, and their tags."""

    def __init__(self) -> None:
        self.tags: dict[int, str] = {}
        self.last = 0
        self.broken = False

    def register(self, descriptor: int, tag: str) -> int:
        if self.broken:
            raise PermissionError("no privilege")
        self.last += 1
        self.tags[self.last] = tag
        return self.last

    def unregister(self, backing: int) -> None:
        del self.tags[backing]


class Refusing(Registry):
    """A keeper without the privilege, asked once."""

    def register(self, descriptor: int, tag: str) -> int:
        assert not self.broken, "asked again"
        self.broken = True
        raise PermissionError(errno.EPERM, "no CAP_SYS_ADMIN")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def backings(registry: Registry) -> Backings:
    return Backings(registry)


@pytest.fixture
def whole() -> Iterator[int]:
    """A descriptor of a cache file that is worth a registration."""
    with tempfile.TemporaryFile() as file:
        file.truncate(WORTHWHILE)
        yield file.fileno()


def test_a_whole_file_is_registered_once_for_all_its_readers(
    backings: Backings, registry: Registry, whole: int
) -> None:
    """The kernel takes a second open of the inode only with the same backing id."""
    ids = {backings.opened(NODE, Opened(h, whole_fd=whole), reader=True) for h in (1, 2)}
    assert ids == {1} and len(registry.tags) == 1


def test_the_last_reader_frees_the_registration(
    backings: Backings, registry: Registry, whole: int
) -> None:
    """Otherwise the evicted cache file would keep its disk space."""
    for handle in (1, 2):
        backings.opened(NODE, Opened(handle, whole_fd=whole), reader=True)
    backings.released(1, NODE)
    assert registry.tags
    backings.released(2, NODE)
    assert not registry.tags


def test_a_file_open_through_us_stays_so_for_later_readers(
    backings: Backings, registry: Registry, whole: int
) -> None:
    """Until its last handle is gone."""
    assert backings.opened(NODE, Opened(1), reader=False) == NONE
    assert backings.opened(NODE, Opened(2, whole_fd=whole), reader=True) == NONE
    backings.released(1, NODE)
    backings.released(2, NODE)
    assert backings.opened(NODE, Opened(3, whole_fd=whole), reader=True) == 1


def test_writers_and_small_files_go_through_us(
    backings: Backings, registry: Registry, whole: int
) -> None:
    """The kernel would write into the cache file; and a small file isn't worth the round trip."""
    assert backings.opened(NODE, Opened(1, whole_fd=whole), reader=False) == NONE
    with tempfile.TemporaryFile() as small:
        opened = Opened(2, whole_fd=small.fileno())
        assert backings.opened(NODE + 1, opened, reader=True) == NONE
    assert not registry.tags


def test_a_writer_of_a_file_in_passthrough_is_sent_to_another_id(
    backings: Backings, whole: int
) -> None:
    """ESTALE makes the kernel look the name up again, which then answers with the next turn."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    with pytest.raises(Stale):
        backings.check(NODE, reader=False)
    assert backings.kernel_id(NODE) == NEXT
    backings.check(NEXT, reader=False)
    assert backings.opened(NEXT, Opened(2), reader=False) == NONE
    assert backings.kernel_ids(NODE) == (NODE, NEXT)


def test_a_writer_on_its_way_to_another_id_is_not_overtaken(backings: Backings, whole: int) -> None:
    """The kernel repeats its open once: a reader in between must not take that id, too."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    with pytest.raises(Stale):
        backings.check(NODE, reader=False)
    assert backings.opened(NEXT, Opened(2, whole_fd=whole), reader=True) == NONE
    backings.check(NEXT, reader=False)
    assert backings.opened(NEXT, Opened(3), reader=False) == NONE


def test_an_open_under_an_old_id_never_turns_back(backings: Backings, whole: int) -> None:
    """A second name may still lead to it; what the next lookup finds must fit at once."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    with tempfile.TemporaryFile() as newer:
        newer.truncate(WORTHWHILE)
        with pytest.raises(Stale):
            backings.opened(NODE, Opened(2, whole_fd=newer.fileno()), reader=True)
        backings.opened(NEXT, Opened(2, whole_fd=newer.fileno()), reader=True)
    with pytest.raises(Stale):
        backings.check(NODE, reader=False)
    assert backings.kernel_id(NODE) == NODE | 2 << TURN_SHIFT


def test_a_newer_version_is_sent_to_another_id(backings: Backings, whole: int) -> None:
    """Readers of the old one go on with what they opened."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    with tempfile.TemporaryFile() as newer:
        newer.truncate(WORTHWHILE)
        opened = Opened(2, whole_fd=newer.fileno())
        with pytest.raises(Stale):
            backings.opened(NODE, opened, reader=True)
        assert backings.opened(NEXT, opened, reader=True) == 2


def test_a_refused_registration_means_reading_through_us(
    backings: Backings, registry: Registry, whole: int
) -> None:
    """No privilege, a stacked filesystem below the cache, a keeper that is away."""
    registry.broken = True
    assert backings.opened(NODE, Opened(1, whole_fd=whole), reader=True) == NONE


def test_a_final_refusal_is_said_once_and_nothing_is_tried_again(
    whole: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning where an option asks for passthrough; no round trip to the keeper any more."""
    backings = Backings(Refusing())
    for handle in (1, 2):
        opened = Opened(handle, whole_fd=whole, asked=True)
        assert backings.opened(NODE, opened, reader=True) == NONE
        backings.released(handle, NODE)
        assert not backings.would(NODE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()


def test_a_writer_beside_a_reader_of_a_content_gets_another_inode_number(
    backings: Backings, whole: int
) -> None:
    """They have different contents from then on, so `tail -F` goes over to the new one."""
    backings.opened(NODE, Opened(1, whole_fd=whole, content=5), reader=True)
    with pytest.raises(Stale):
        backings.check(NODE, reader=False)
    turned = backings.kernel_id(NODE, 5)
    assert inode_number(turned) != NODE
    backings.check(turned, reader=False)
    assert backings.opened(turned, Opened(2, content=6), reader=False) == NONE
    assert backings.kernel_id(NODE, 6) == turned


def test_only_an_open_that_may_be_passthrough_is_asked_for(backings: Backings, whole: int) -> None:
    """Not where the id is open through us: the answer would be taken back."""
    assert backings.would(NODE) and not Backings(None).would(NODE)
    backings.opened(NODE, Opened(2), reader=False)
    assert not backings.would(NODE)
    backings.released(2, NODE)
    backings.opened(NODE, Opened(3, whole_fd=whole), reader=True)
    assert backings.would(NODE)


def test_an_open_through_us_during_the_registration_wins(whole: int) -> None:
    """Between the question to the keeper and its answer another open may pass."""

    class Slow(Registry):
        def register(self, descriptor: int, tag: str) -> int:
            assert backings.opened(NODE, Opened(2), reader=False) == NONE
            return super().register(descriptor, tag)

    registry = Slow()
    backings = Backings(registry)
    assert backings.opened(NODE, Opened(1, whole_fd=whole), reader=True) == NONE
    assert not registry.tags


def test_a_successor_keeps_what_open_files_need(
    registry: Registry, backings: Backings, whole: int
) -> None:
    """The registration lives until the dead worker's last handle of that node is released."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    successor = Backings(registry)
    successor.restore(registry.tags, {1: NODE, 5: 9})
    with pytest.raises(Stale):
        successor.check(NODE, reader=False)
    assert successor.opened(NODE, Opened(2, whole_fd=whole), reader=True) == 1
    successor.released(2, NODE)
    assert registry.tags
    successor.released(1, NODE)
    assert not registry.tags


def test_a_successor_knows_which_handles_the_kernel_reads(
    registry: Registry, backings: Backings, whole: int
) -> None:
    """They tell the attributes under their id, and their end is the registration's."""
    backings.opened(NODE, Opened(1, whole_fd=whole, content=5), reader=True)
    with pytest.raises(Stale):
        backings.check(NODE, reader=False)
    turned = backings.kernel_id(NODE, 5)
    backings.opened(turned, Opened(2, content=6), reader=False)
    successor = Backings(registry)
    successor.restore(registry.tags, {1: NODE, 2: NODE}, {2: 7})
    assert successor.handle_of(NODE) == 1
    assert not successor.holds(NODE, 7)
    successor.released(1, NODE)
    assert not registry.tags


def test_a_successor_never_mixes_modes_on_inherited_handles(registry: Registry, whole: int) -> None:
    """A node with a handle through us from before goes through us until that is released."""
    successor = Backings(registry)
    successor.restore({}, {5: NODE})
    opened = Opened(6, whole_fd=whole)
    assert successor.opened(NODE, opened, reader=True) == NONE
    successor.released(5, NODE)
    successor.released(6, NODE)
    assert successor.opened(NODE, Opened(7, whole_fd=whole), reader=True) == 1


def test_a_successor_gives_up_registrations_without_handles(
    registry: Registry, backings: Backings, whole: int
) -> None:
    """Registered for an open that the dead worker never answered."""
    backings.opened(NODE, Opened(1, whole_fd=whole), reader=True)
    Backings(registry).restore(dict(registry.tags), {})
    assert not registry.tags


def test_another_content_is_sent_to_another_id(backings: Backings) -> None:
    """The kernel has one page cache for an id: what is open there keeps it to itself."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    with pytest.raises(Stale):
        backings.opened(NODE, Opened(2, content=11), reader=False)
    other = backings.kernel_id(NODE, UNOPENED)
    assert other & NODE_MASK == NODE and other != NODE
    assert backings.opened(other, Opened(2, content=11), reader=False) == NONE
    assert backings.kernel_id(NODE, 11) == other
    assert set(backings.kernel_ids(NODE)) == {NODE, other}


def test_an_open_that_is_repeated_gets_through(backings: Backings) -> None:
    """The kernel repeats once: a reader that meets yet another version reads past its pages."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    with pytest.raises(Stale):
        backings.opened(NODE, Opened(2, content=11), reader=True)
    other = backings.kernel_id(NODE, UNOPENED)
    backings.opened(other, Opened(3, content=12), reader=True)
    assert backings.opened(other, Opened(4, content=13), reader=True) == DIRECT
    backings.released(4, other)
    assert backings.handle_of(other) == 3
    with pytest.raises(Stale):
        backings.opened(other, Opened(5, content=13), reader=False)


def test_a_lookup_that_finds_another_content_tells_another_id(backings: Backings) -> None:
    """So its size and times aren't taken for those of what is open."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    assert backings.kernel_id(NODE, 10) == NODE
    other = backings.kernel_id(NODE, UNOPENED)
    assert other != NODE
    assert backings.holds(NODE, 10) and not backings.holds(NODE, UNOPENED)
    assert backings.handle_of(NODE) == 1 and backings.handle_of(other) is None
    assert inode_number(other) != inode_number(NODE) == NODE


def test_one_content_is_open_under_one_id(backings: Backings) -> None:
    """Else a writer's pages would not be its readers'; also when an old version comes back."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    other = backings.kernel_id(NODE, UNOPENED)
    with pytest.raises(Stale):
        backings.opened(other, Opened(2, content=10), reader=False)
    assert backings.kernel_id(NODE, 10) == NODE


def test_pages_of_an_id_that_was_left_are_not_kept(backings: Backings) -> None:
    """They may be of a version before; those of a content that is open are its own."""
    assert backings.keeps(NODE)
    backings.opened(NODE, Opened(1, content=10), reader=True)
    other = backings.kernel_id(NODE, UNOPENED)
    backings.opened(other, Opened(2, content=11), reader=True)
    assert not backings.keeps(other)
    backings.opened(other, Opened(3, content=11), reader=True)
    assert backings.keeps(other)


def test_an_id_takes_another_content_when_nothing_is_open(backings: Backings) -> None:
    """The usual case: opened, closed, replaced, opened."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    backings.released(1, NODE)
    assert backings.opened(NODE, Opened(2, content=11), reader=True) == NONE
    assert backings.kernel_id(NODE, 11) == NODE


def test_a_successor_keeps_contents_apart(registry: Registry) -> None:
    """One content goes on under its id; of several nobody knows which id is whose."""
    successor = Backings(registry)
    successor.restore({}, {5: NODE, 6: 8, 7: 8}, {5: 10, 6: 11, 7: 12})
    assert successor.kernel_id(NODE, 10) == NODE
    assert successor.kernel_id(NODE, UNOPENED) != NODE
    fresh = successor.kernel_id(8, 12)
    assert inode_number(fresh) == fresh and fresh >> TURN_SHIFT & VERSION - 1 > 7


def test_a_node_that_the_kernel_has_forgotten_costs_nothing(backings: Backings) -> None:
    """Turns are kept while the kernel knows an id of the node, and no longer."""
    for node in (2, 3):
        backings.opened(node, Opened(node, content=10 * node), reader=True)
        other = backings.kernel_id(node, UNOPENED)
        assert other != node
        backings.released(node, node)
        backings.forgotten(node, lambda _: True)
        assert backings.kernel_id(node) == other
        backings.forgotten(node, lambda _: False)
        assert backings.kernel_ids(node) == (node,)


def test_turns_stay_while_a_version_is_open(backings: Backings) -> None:
    """A FORGET may be read before the RELEASE that was sent before it."""
    backings.opened(NODE, Opened(1, content=10), reader=True)
    other = backings.kernel_id(NODE, UNOPENED)
    backings.forgotten(NODE, lambda _: False)
    assert backings.kernel_id(NODE, UNOPENED) == other
    backings.released(1, NODE)
    backings.forgotten(NODE, lambda _: False)
    assert backings.kernel_ids(NODE) == (NODE,)


def test_what_a_successor_reserved_goes_with_the_node(registry: Registry, whole: int) -> None:
    """The id that handles of a dead worker may be open under is nobody's in the end."""
    tags = {1: f"{NODE} 1:1"}
    successor = Backings(registry)
    registry.tags = dict(tags)
    successor.restore(tags, {5: NODE})
    assert len(successor.kernel_ids(NODE)) == 2
    successor.released(5, NODE)
    successor.forgotten(NODE, lambda _: False)
    assert successor.kernel_ids(NODE) == (NODE,)


def test_an_open_of_unknown_content_keeps_that_of_its_handle(backings: Backings) -> None:
    """A resent open is such a one: attributes of the content are still the file's."""
    backings.restore({}, {3: NODE}, {3: 11})
    backings.opened(NODE, Opened(3), reader=False)
    assert backings.holds(NODE, 11) and not backings.holds(NODE, 12)
