"""Passthrough: files whose reads the kernel serves from a cache file, and their ids in the kernel.

The kernel's rules (fs/fuse/iomode.c of Linux 6.9 and later), each of them answered with EIO when
broken: while an inode is open in passthrough, every open of it must be passthrough with the same
backing id; while it is open through us, none may be. Here: the first open decides, for readers
only. A later open that doesn't fit (a writer, a newer version) gets ESTALE, on which the kernel
looks the name up again, and that lookup now answers with another *kernel id* for the same node.
Readers from before keep the version they opened, new opens go through us.

A kernel id is the node id with a turn counter in its upper 16 bits. Only files of a passthrough
that didn't fit ever leave turn 0.

Threading: any thread. `_lock` guards the tables and is never held while registering.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fusefs import locks
from fusefs.errors import FsError, Stale
from fusefs.interface import Opened
from fusefs.locks import Rank

TURN_SHIFT = 48
NODE_MASK = (1 << TURN_SHIFT) - 1
TURNS = 1 << 15
NONE = 0  # a backing id of the kernel is never 0
# A registration costs a round trip to the keeper, and small files are where lock files live.
WORTHWHILE = 128 << 10
# The kernel repeats an open that was answered ESTALE once only. Until it has, the id it will find
# must not go into passthrough for somebody faster.
BARRED_SECONDS = 5.0


class Registry(Protocol):
    """Who may register a file with the kernel: this process when privileged, else the keeper."""

    def register(self, descriptor: int, tag: str) -> int:
        """Return the backing id; `tag` is given back to a successor. OSError when refused."""

    def unregister(self, backing: int) -> None:
        """Forget the id; open files keep what they have."""


@dataclass(slots=True)
class _Inode:
    """The opens of one kernel id; `identity` is device and inode of the registered file."""

    cached: int = 0
    backing: int = NONE
    identity: str = ""
    handles: set[int] = field(default_factory=set)
    # Opens of a dead worker that may be passthrough; while there are any, the id stays registered.
    inherited: set[int] = field(default_factory=set)


class Backings:
    """The passthrough state of one connection."""

    def __init__(self, registry: Registry | None) -> None:
        self._registry = registry
        self._lock = locks.lock(Rank.LEAF)
        self._inodes: dict[int, _Inode] = {}
        self._owner: dict[int, int] = {}  # handle -> kernel id, of open files
        self._turns: dict[int, int] = {}  # node -> turn, where it isn't 0
        self._barred: dict[int, float] = {}  # kernel id -> monotonic time

    def restore(self, tags: Mapping[int, str], handles: Mapping[int, int]) -> None:
        """Take over from a dead worker: its registrations (id -> tag), its handles -> nodes."""
        of_node: dict[int, set[int]] = {}
        for handle, node in handles.items():
            of_node.setdefault(node, set()).add(handle)
        for backing, tag in tags.items():
            kernel_id, _, identity = tag.partition(" ")
            self._inherit(int(kernel_id), backing, identity, of_node)
        for handle, node in handles.items():
            if node not in self._turns:
                self._inodes.setdefault(node, _Inode()).cached += 1
                self._owner[handle] = node

    def kernel_id(self, node: int) -> int:
        """Return the id under which the kernel shall know a node from now on."""
        if not self._turns:
            return node
        return node | self._turns.get(node, 0) << TURN_SHIFT

    def kernel_ids(self, node: int) -> tuple[int, ...]:
        """Return all ids under which the kernel may know a node."""
        with self._lock:
            turn = self._turns.get(node, 0)
        return tuple(node | each << TURN_SHIFT for each in range(turn + 1))

    def check(self, kernel_id: int, *, reader: bool) -> None:
        """Raise `Stale` for an open that can't fit, before the filesystem acts on its flags."""
        if reader:
            return
        with self._lock:
            inode = self._inodes.get(kernel_id)
            if inode is not None and inode.backing:
                stale = self._turn(kernel_id)
                self._bar(self.kernel_id(kernel_id & NODE_MASK))
                raise stale

    def opened(self, kernel_id: int, opened: Opened, *, reader: bool) -> int:
        """Note an open; return its backing id, or NONE when it goes through us.

        Raises `Stale` when the kernel has to look the name up again; the caller gives the handle
        back to the filesystem.
        """
        eligible = reader and self._registry is not None and opened.whole_fd >= 0
        identity = _identity(opened.whole_fd) if eligible else ""
        with self._lock:
            inode = self._inodes.setdefault(kernel_id, _Inode())
            if inode.backing:
                return self._join(kernel_id, inode, opened.handle, identity)
            inode.cached += 1
            self._owner[opened.handle] = kernel_id
            alone = inode.cached == 1 and not self._is_barred(kernel_id)
        if not (identity and alone):
            return NONE
        return self._begin(kernel_id, inode, opened, identity)

    def released(self, handle: int, kernel_id: int) -> None:
        """Note the end of an open; the last one of a passthrough frees its backing id."""
        with self._lock:
            kernel_id = self._owner.pop(handle, kernel_id)
            inode = self._inodes.get(kernel_id)
            if inode is None:
                return
            backing = self._leave(inode, handle)
            if not (inode.cached or inode.handles or inode.inherited):
                del self._inodes[kernel_id]
        if backing:
            self._unregister(backing)

    def _inherit(
        self, kernel_id: int, backing: int, identity: str, of_node: Mapping[int, set[int]]
    ) -> None:
        """Keep a dead worker's registration as long as one of its handles may need it."""
        node = kernel_id & NODE_MASK
        handles = of_node.get(node)
        if not handles:
            self._unregister(backing)
            return
        self._inodes[kernel_id] = _Inode(backing=backing, identity=identity, inherited=set(handles))
        turn = max(self._turns.get(node, 0), (kernel_id >> TURN_SHIFT) + 1) % TURNS
        self._turns[node] = turn
        # Which turn a handle belongs to isn't known: the next one may be open through us.
        self._inodes[node | turn << TURN_SHIFT] = _Inode(cached=1)

    def _join(self, kernel_id: int, inode: _Inode, handle: int, identity: str) -> int:
        if identity != inode.identity:
            raise self._turn(kernel_id)
        inode.handles.add(handle)
        self._owner[handle] = kernel_id
        return inode.backing

    def _bar(self, kernel_id: int) -> None:
        now = time.monotonic()
        self._barred = {each: end for each, end in self._barred.items() if end > now}
        self._barred[kernel_id] = now + BARRED_SECONDS

    def _is_barred(self, kernel_id: int) -> bool:
        return self._barred.get(kernel_id, 0.0) > time.monotonic()

    def _turn(self, kernel_id: int) -> Stale:
        """See to it that the next lookup finds an id that isn't in passthrough."""
        node, turn = kernel_id & NODE_MASK, self._turns.get(kernel_id & NODE_MASK, 0)
        while (inode := self._inodes.get(node | turn << TURN_SHIFT)) and inode.backing:
            turn = (turn + 1) % TURNS
        self._turns[node] = turn
        return Stale("open for reading from the cache file: look the name up again")

    def _begin(self, kernel_id: int, inode: _Inode, opened: Opened, identity: str) -> int:
        backing = self._register(opened.whole_fd, f"{kernel_id} {identity}")
        if not backing:
            return NONE
        with self._lock:
            if inode.cached == 1:
                inode.cached = 0
                inode.backing, inode.identity = backing, identity
                inode.handles.add(opened.handle)
                return backing
        self._unregister(backing)  # somebody else opened it through us meanwhile
        return NONE

    @staticmethod
    def _leave(inode: _Inode, handle: int) -> int:
        """Take a handle off; return the backing id that nobody uses any more, or NONE."""
        if not inode.backing:
            inode.cached = max(0, inode.cached - 1)
            return NONE
        inode.handles.discard(handle)
        inode.inherited.discard(handle)
        if inode.handles or inode.inherited:
            return NONE
        backing, inode.backing = inode.backing, NONE
        return backing

    def _register(self, descriptor: int, tag: str) -> int:
        if self._registry is None:
            return NONE
        try:
            return self._registry.register(descriptor, tag)
        except (OSError, FsError):
            # Refused (no privilege, stacked filesystem, keeper away): reads go through us.
            return NONE

    def _unregister(self, backing: int) -> None:
        if self._registry is not None:
            try:
                self._registry.unregister(backing)
            except (OSError, FsError):
                return  # the keeper is away: the id lives as long as the mount


def _identity(descriptor: int) -> str:
    """Name the file behind a descriptor; "" for one not worth a registration."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}" if status.st_size >= WORTHWHILE else ""
