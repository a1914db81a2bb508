"""Passthrough: files whose reads the kernel serves from a cache file, and their ids in the kernel.

The kernel's rules (fs/fuse/iomode.c of Linux 6.9 and later), each of them answered with EIO when
broken: while an inode is open in passthrough, every open of it must be passthrough with the same
backing id; while it is open through us, none may be. Here: the first open decides, for readers
only. A later open that doesn't fit (a writer, a newer version) gets ESTALE, on which the kernel
looks the name up again, and that lookup now answers with another *kernel id* for the same node.
Earlier readers keep the version they opened, new opens go through us. Where files can be written,
each open in passthrough has to be `allowed`: whoever writes the file has another content from then
on (`posix.openfiles`).

The same mechanism separates versions that other writers make: the kernel has one page cache for an
inode, so all opens of a kernel id are of one content. A version that was opened while another was
open gets the next kernel id, by the lookup that finds it or by ESTALE to its open.

A kernel id is the node id with a turn counter in its upper 16 bits. Only files of which an open
didn't fit ever leave turn 0, until the kernel has forgotten them.

Threading: any thread. `_lock` guards the tables and is never held while registering.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fusefs import locks
from fusefs.errors import Stale
from fusefs.interface import Opened
from fusefs.kernel.registrations import NONE, BackingRegistry, Registrations, identity_of
from fusefs.locks import Rank

TURN_SHIFT = 48
NODE_MASK = (1 << TURN_SHIFT) - 1
TURNS = 1 << 15
# Turns with this bit are other versions of a file: their `st_ino` differs.
VERSION = 1 << 14
FORMER_MOST = 16  # turns kept for one node; those that aren't open are forgotten
DIRECT = -1  # no backing, and no pages either
# The kernel repeats an open that was answered ESTALE once only. Until it has, the id it will find
# must not go into passthrough for another open.
BARRED_SECONDS = 5.0
REPEAT_SECONDS = 1.0


@dataclass(slots=True)
class _Inode:
    """The opens of one kernel id; `identity` is device and inode of the registered file.

    `opens` are all its handles, `content` the content they have open, 0 if unknown.
    """

    content: int = 0
    opens: set[int] = field(default_factory=set)
    cached: int = 0
    backing: int = NONE
    identity: str = ""
    handles: set[int] = field(default_factory=set)
    # Opens of a dead worker that may be passthrough; while there are any, the id stays registered.
    inherited: set[int] = field(default_factory=set)


class Backings:
    """The passthrough state of one connection."""

    def __init__(self, registry: BackingRegistry | None) -> None:
        self._files = Registrations(registry)
        self._lock = locks.lock(Rank.LEAF)
        self._inodes: dict[int, _Inode] = {}
        self._owner: dict[int, int] = {}  # handle -> kernel id, of open files
        self._homes: dict[int, int] = {}  # content -> kernel id, while it is open
        self._turns: dict[int, int] = {}  # node -> turn, where it isn't 0
        self._former: dict[int, set[int]] = {}  # node -> turns that it had before
        self._turned_at: dict[int, float] = {}  # node -> monotonic time, of the last second
        self._direct: set[int] = set()  # handles that read past the kernel's pages
        self._first_turn = 1  # above the turns that handles of a former process can have
        self._barred: dict[int, float] = {}  # kernel id -> monotonic time

    def restore(
        self,
        tags: Mapping[int, str],
        handles: Mapping[int, int],
        contents: Mapping[int, int] | None = None,
    ) -> None:
        """Take over a dead worker's registrations (id -> tag) and handles (handle -> node).

        `contents`: the content that each handle has open; those without are passthrough for sure.
        """
        # A turn was never higher than the handles that were opened after it.
        self._first_turn = max(handles, default=0) % VERSION + 1
        of_node: dict[int, set[int]] = {}
        for handle, node in handles.items():
            of_node.setdefault(node, set()).add(handle)
        for backing, tag in tags.items():
            kernel_id, _, identity = tag.partition(" ")
            self._inherit(int(kernel_id), backing, identity, of_node, contents)
        for handle, node in handles.items():
            if node not in self._turns:
                self._inodes.setdefault(node, _Inode()).cached += 1
                self._owner[handle] = node
        self._restore_contents(of_node, contents or {})

    def _restore_contents(
        self, of_node: Mapping[int, set[int]], contents: Mapping[int, int]
    ) -> None:
        """Note the content open under each id; the id of a second version is unknown."""
        for node, handles in of_node.items():
            found = {contents[handle] for handle in handles if handle in contents}
            inode = self._inodes.get(node)
            if len(found) > 1:
                self._set_turn(node, self._next_turn(0, VERSION))
            elif found and inode is not None and not inode.backing:
                inode.opens |= handles
                inode.content = found.pop()
                self._homes[inode.content] = node

    def kernel_id(self, node: int, content: int = 0) -> int:
        """Return the kernel id for a node with this content, from now on."""
        if not self._inodes and not self._turns:
            return node
        with self._lock:
            current = self._current(node)
            if content and not self._fits(current, content):
                self._turn(current, content)
                current = self._current(node)
            return current

    def _current(self, node: int) -> int:
        return node | self._turns.get(node, 0) << TURN_SHIFT

    def _fits(self, kernel_id: int, content: int) -> bool:
        """Return whether a content may be opened under an id, where no other content is open."""
        if not content:
            return True
        inode = self._inodes.get(kernel_id)
        if inode is not None and inode.opens and inode.content:
            return inode.content == content
        return self._homes.get(content, kernel_id) == kernel_id

    def holds(self, kernel_id: int, content: int) -> bool:
        """Return whether attributes of this content are those of the content open under the id."""
        inode = self._inodes.get(kernel_id)
        return inode is None or not inode.opens or content in (0, inode.content)

    def handle_of(self, kernel_id: int) -> int | None:
        """Return a handle that is open under an id."""
        with self._lock:
            inode = self._inodes.get(kernel_id)
            return next(iter(inode.opens), None) if inode is not None else None

    def keeps(self, kernel_id: int) -> bool:
        """Return whether the kernel's pages of an id may be of the content just opened."""
        with self._lock:
            inode = self._inodes.get(kernel_id)
            turned = kernel_id >> TURN_SHIFT or kernel_id & NODE_MASK in self._turns
            return not turned or (inode is not None and len(inode.opens) > 1)

    def kernel_ids(self, node: int) -> tuple[int, ...]:
        """Return all ids under which the kernel may know a node."""
        with self._lock:
            turns = self._all_turns(node)
        return tuple(node | each << TURN_SHIFT for each in sorted(turns))

    def _all_turns(self, node: int) -> set[int]:
        return self._former.get(node, set()) | {self._turns.get(node, 0)}

    def check(self, kernel_id: int, *, reader: bool) -> None:
        """Raise `Stale` for an open that can't fit, before the filesystem acts on its flags."""
        if reader:
            return
        with self._lock:
            inode = self._inodes.get(kernel_id)
            if inode is not None and inode.backing:
                stale = self._turn(kernel_id, inode.content)
                self._bar(self._current(kernel_id & NODE_MASK))
                raise stale

    def would(self, kernel_id: int) -> bool:
        """Return whether a reader's open may become passthrough; `opened` decides."""
        if not self._files.possible:
            return False
        with self._lock:
            inode = self._inodes.get(kernel_id)
            return inode is None or bool(inode.backing) or not inode.cached

    def opened(self, kernel_id: int, opened: Opened, *, reader: bool) -> int:
        """Note an open; return its backing id, NONE to go through us, DIRECT for direct I/O.

        Raises `Stale` when the kernel has to look the name up again; the caller then releases the
        handle.
        """
        eligible = reader and self._files.worthwhile(opened.whole_fd)
        identity = identity_of(opened.whole_fd) if eligible else ""
        with self._lock:
            if not self._fits(kernel_id, opened.content):
                if reader and self._may_repeat(kernel_id):
                    self._direct.add(opened.handle)
                    return DIRECT
                raise self._turn(kernel_id, opened.content)
            inode = self._inodes.setdefault(kernel_id, _Inode())
            if inode.backing:
                return self._join(kernel_id, inode, opened, identity)
            inode.cached += 1
            self._note(kernel_id, inode, opened)
            alone = inode.cached == 1 and not self._is_barred(kernel_id)
        if not (identity and alone):
            return NONE
        return self._begin(kernel_id, inode, opened, identity)

    def released(self, handle: int, kernel_id: int) -> None:
        """Note the end of an open; the last one of a passthrough frees its backing id."""
        with self._lock:
            if handle in self._direct:
                self._direct.discard(handle)
                return
            kernel_id = self._owner.pop(handle, kernel_id)
            inode = self._inodes.get(kernel_id)
            if inode is None:
                return
            inode.opens.discard(handle)
            if not inode.opens and self._homes.get(inode.content) == kernel_id:
                del self._homes[inode.content]
            backing = self._leave(inode, handle)
            if not (inode.cached or inode.handles or inode.inherited):
                del self._inodes[kernel_id]
        if backing:
            self._files.unregister(backing)

    def forgotten(self, node: int, known: Callable[[int], bool]) -> None:
        """Drop the turns of a node once the kernel knows no id of it, and none is open.

        `known` is asked under the lock: who is looking the node up has counted that before it
        asks for an id here, so it either is seen or gets an id of the node as a new one.
        """
        if node not in self._turns and node not in self._inodes:
            return
        with self._lock:
            if known(node):
                return
            ids = [node | each << TURN_SHIFT for each in self._all_turns(node)]
            if any(self._is_open(each) for each in ids):
                return
            for each in ids:
                self._inodes.pop(each, None)
                self._barred.pop(each, None)
            self._turns.pop(node, None)
            self._former.pop(node, None)
            self._turned_at.pop(node, None)

    def _is_open(self, kernel_id: int) -> bool:
        inode = self._inodes.get(kernel_id)
        return inode is not None and bool(inode.opens or inode.handles or inode.inherited)

    def _inherit(
        self,
        kernel_id: int,
        backing: int,
        identity: str,
        of_node: Mapping[int, set[int]],
        contents: Mapping[int, int] | None,
    ) -> None:
        """Keep a dead worker's registration while one of its handles may need it."""
        node = kernel_id & NODE_MASK
        handles = of_node.get(node)
        if not handles:
            self._files.unregister(backing)
            return
        known = handles.difference(contents) if contents is not None else set()
        inherited = set(known or handles)
        self._inodes[kernel_id] = _Inode(
            opens=known, backing=backing, identity=identity, inherited=inherited
        )
        turn = max(self._turns.get(node, 0), (kernel_id >> TURN_SHIFT) + 1) % TURNS
        self._set_turn(node, turn)
        # Which turn a handle belongs to isn't known: the next one may be open through us.
        self._inodes[node | turn << TURN_SHIFT] = _Inode(cached=1)

    def _may_repeat(self, kernel_id: int) -> bool:
        """Return whether this open may be the repeat of one that was answered ESTALE.

        The kernel repeats once only. If versions follow each other faster than opens, the repeat
        gets direct I/O, past the pages of the version that is open under this id.
        """
        inode = self._inodes.get(kernel_id)
        passthrough = inode is not None and inode.backing
        turned = self._turned_at.get(kernel_id & NODE_MASK, float("-inf"))
        return not passthrough and time.monotonic() - turned < REPEAT_SECONDS

    def _note(self, kernel_id: int, inode: _Inode, opened: Opened) -> None:
        self._owner[opened.handle] = kernel_id
        inode.opens.add(opened.handle)
        if opened.content:
            inode.content = opened.content
            self._homes[opened.content] = kernel_id

    def _join(self, kernel_id: int, inode: _Inode, opened: Opened, identity: str) -> int:
        if identity != inode.identity:
            raise self._turn(kernel_id, opened.content)
        inode.handles.add(opened.handle)
        self._note(kernel_id, inode, opened)
        return inode.backing

    def _bar(self, kernel_id: int) -> None:
        now = time.monotonic()
        self._barred = {each: end for each, end in self._barred.items() if end > now}
        self._barred[kernel_id] = now + BARRED_SECONDS

    def _is_barred(self, kernel_id: int) -> bool:
        return self._barred.get(kernel_id, 0.0) > time.monotonic()

    def _turn(self, kernel_id: int, content: int = 0) -> Stale:
        """Choose the id that the next lookup returns: one without another content."""
        node, turn = kernel_id & NODE_MASK, self._turns.get(kernel_id & NODE_MASK, 0)
        home = self._inodes.get(self._homes.get(content, NONE))
        if home is not None and not home.backing:
            turn = self._homes[content] >> TURN_SHIFT
        else:
            while not self._is_free(node | turn << TURN_SHIFT, content):
                turn = self._next_turn(turn, VERSION if content else 0)
        self._set_turn(node, turn)
        return Stale("open under this id with another content: look the name up again")

    def _next_turn(self, turn: int, kind: int) -> int:
        return max(turn + 1, self._first_turn) % VERSION | (turn & VERSION) | kind

    def _set_turn(self, node: int, turn: int) -> None:
        former = self._former.setdefault(node, {0})
        former.add(self._turns.get(node, 0))
        if len(former) > FORMER_MOST:
            former -= {each for each in former if node | each << TURN_SHIFT not in self._inodes}
        self._turns[node] = turn
        now = time.monotonic()
        for other, at in list(self._turned_at.items()):  # the oldest first
            if now - at < REPEAT_SECONDS:
                break
            del self._turned_at[other]
        self._turned_at.pop(node, None)
        self._turned_at[node] = now

    def _is_free(self, kernel_id: int, content: int) -> bool:
        inode = self._inodes.get(kernel_id)
        if inode is None:
            return True
        other = content and inode.opens and inode.content not in (0, content)
        return not (inode.backing or other)

    def _begin(self, kernel_id: int, inode: _Inode, opened: Opened, identity: str) -> int:
        tag = f"{kernel_id} {identity}"
        backing = self._files.register(opened.whole_fd, tag, asked=opened.asked)
        if not backing:
            return NONE
        with self._lock:
            if inode.cached == 1:
                inode.cached = 0
                inode.backing, inode.identity = backing, identity
                inode.handles.add(opened.handle)
                return backing
        self._files.unregister(backing)  # another open went through us meanwhile
        return NONE

    @staticmethod
    def _leave(inode: _Inode, handle: int) -> int:
        """Remove a handle; return the backing id if it is unused now, else NONE."""
        if not inode.backing:
            inode.cached = max(0, inode.cached - 1)
            return NONE
        inode.handles.discard(handle)
        inode.inherited.discard(handle)
        if inode.handles or inode.inherited:
            return NONE
        backing, inode.backing = inode.backing, NONE
        return backing


def inode_number(kernel_id: int, inode: int = 0) -> int:
    """Return the `st_ino` of a kernel id; a version beside an open one has its own."""
    number = inode or kernel_id & NODE_MASK
    turn = kernel_id >> TURN_SHIFT
    return number | turn << TURN_SHIFT if turn & VERSION else number


def identity_in(tag: str) -> str:
    """Return device and inode of the cache file in the tag of a registration."""
    return tag.partition(" ")[2]
