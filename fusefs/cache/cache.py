"""Clean content on disk by key and ETag, for this process and the ones after it.

Evicted are whole versions that are not open, least recently used first; then the oldest blocks of
open versions, by punching holes. A version pinned by `CacheFile.verified_fd` stays. Of versions
that are not open a limited number is kept, however small they are: each takes memory.

Not here: blocks of one version (`cachefile`), names on disk (`cachedir`), dirty data.

Threading: any thread. `_lock` guards the maps and `users`/`listed` of each file, and is never held
over a system call nor while taking space. Order: a file's `_setup`, `_lock`, then the leaves.
"""

import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.cache.blockindex import BLOCK, BrokenIndex, Identity, key_hash
from fusefs.cache.cachedir import CacheDir
from fusefs.cache.cachefile import CacheFile
from fusefs.cache.kernelreads import KernelReads
from fusefs.cache.lastchange import LastChange
from fusefs.cache.place import DiskPlace, DiskState
from fusefs.cache.slab import Slab, Slabs
from fusefs.cache.slot import SlabSlot
from fusefs.disk.diskhealth import DiskHealth
from fusefs.disk.space import Account, Space
from fusefs.errors import NoSpace
from fusefs.locks import Rank

__all__ = ["Cache", "CacheFile", "KernelReads"]

log = logging.getLogger(__name__)

# Memory of a version that is not open: its name, its key's and its files' (measured).
VERSION_BYTES = 1200
VERSIONS_MOST = 16_384
SEAL_SECONDS = 2.0  # `close` waits for checksums of adopted files; blocks without are fetched again


@dataclass(frozen=True, slots=True)
class _Idle:
    """A version on disk that is not open."""

    place: DiskPlace
    held: int
    origin: DiskState = DiskState.STORED
    checked: LastChange = None  # its state when this process had compared every block


class Cache:
    """The content cache in `root`, which is this process's alone until `close`.

    `slabs`: keep versions of one block many to a file; each has files of its own otherwise.
    """

    def __init__(
        self, root: Path, space: Space, versions_most: int = VERSIONS_MOST, *, slabs: bool = True
    ) -> None:
        self.root = root
        self._most = versions_most
        self.kernel_reads = KernelReads()
        self._dir = CacheDir(root)
        self._space = space
        self._account = Account(space)
        self._health = DiskHealth(root)
        self._lock = locks.lock(Rank.CACHE)
        self._idle: OrderedDict[str, _Idle] = OrderedDict()  # by name, like the next two
        self._named: dict[str, CacheFile] = {}
        self._open: OrderedDict[int, CacheFile] = OrderedDict()  # the detached ones too
        self._keys: dict[str, set[str]] = {}
        self._unsealed: SimpleQueue[CacheFile | None] = SimpleQueue()
        self._closing = Event()
        self._sealer: Thread | None = None
        self._slabs = Slabs(self._account, self._dir.slab)
        self._uses_slabs = slabs
        for found in self._dir.found(self._slabs):
            self._idle[found.name] = _Idle(found.place, found.held)
            self._note(found.name)
            self._account.found(found.held)
        space.evictor(self.evict)
        self.evict(space.excess)
        self._trim()

    @property
    def held(self) -> int:
        """Bytes of clean content on disk."""
        return self._account.held

    @property
    def room(self) -> int:
        """Bytes of clean content that fit now, those present included; 0 on a failing disk."""
        return self._space.free + self._account.held if self._health.usable() else 0

    def open(self, key: str, etag: str, size: int) -> CacheFile:
        """Return the file of one version, empty or not; every `open` needs its `close`."""
        identity = Identity(key, etag, size)
        name = identity.name
        with self._lock:
            file = self._named.get(name)
            if file is not None and file.identity == identity:
                file.users += 1
                self._open.move_to_end(id(file))
                return file
            if file is not None:  # the store contradicts itself: the same ETag, another size
                file.listed = False
            idle = self._idle.pop(name, None)
            if idle is None:
                idle = _Idle(self._new(identity), 0, DiskState.NOTHING)
            return self._enter(identity, idle)

    def store(self, key: str, etag: str, content: bytes) -> None:
        """Keep all of a version's content, if there is space."""
        file = self.open(key, etag, len(content))
        try:
            file.write(0, memoryview(content))
        finally:
            file.close()

    def _new(self, identity: Identity) -> DiskPlace:
        """Return where a version will be."""
        if self._uses_slabs and 0 < identity.size <= BLOCK and self._slabs.usable:
            return SlabSlot(self._slabs)
        return self._dir.pair(identity.name)

    def _enter(self, identity: Identity, idle: _Idle) -> CacheFile:
        file = CacheFile(
            identity,
            idle.place,
            self._account,
            self._health,
            self._closed,
            idle.origin,
            idle.held,
            self.kernel_reads,
            idle.checked,
        )
        self._named[identity.name] = file
        self._open[id(file)] = file
        self._note(identity.name)
        return file

    def _closed(self, file: CacheFile) -> None:
        """Count one user less; an unused file becomes idle, or goes with its version."""
        with self._lock:
            file.users -= 1
            if file.users:
                return
            del self._open[id(file)]
            keep = file.listed and file.keepable
            name = file.identity.name
            if file.listed:
                del self._named[name]
            if keep:
                self._idle[name] = _Idle(file.place, file.held, file.origin, file.checked)
            else:
                self._forget(name)
        file.release()
        if not keep:
            self._discard(_Idle(file.place, file.held))
        self._trim()

    def peek(self, key: str, etag: str) -> bool:
        """Return whether any block of a version is on disk."""
        name = Identity(key, etag, 0).name
        with self._lock:
            file = self._named.get(name)
            return name in self._idle if file is None else not file.empty

    def whole(self, key: str, etag: str) -> bool:
        """Return whether all blocks of a version are on disk."""
        name = Identity(key, etag, 0).name
        with self._lock:
            file = self._named.get(name)
            idle = self._idle.get(name)
            if file is not None:
                file.users += 1
        if file is not None:
            try:
                return file.whole
            finally:
                file.close()
        if idle is None:
            return False
        return idle.origin is DiskState.ADOPTED or idle.place.whole(key)

    def adopt(
        self, path: Path | str, key: str, etag: str, size: int, taken: int | None = None
    ) -> None:
        """Make a staged file the content of a version, by rename; it must not change any more.

        `taken` are the bytes that the caller has taken from the space for it (default: `size`); the
        cache returns them later. Never fails: at worst the file is removed.
        """
        identity = Identity(key, etag, size)
        held = size if taken is None else taken
        self._account.receive(held)
        place = self._new(identity)
        try:
            origin, takes = place.adopt(str(path), identity, held)
        except (OSError, BrokenIndex, NoSpace) as error:
            if not isinstance(error, NoSpace):
                log.warning("%s isn't kept as cached content of %s: %s", path, key, error)
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
            self._discard(_Idle(place, held))
            return
        self._account.found(takes - held)
        self._place(identity.name, _Idle(place, takes, origin))
        if origin is DiskState.ADOPTED:
            self._seal(self.open(key, etag, size))

    def _place(self, name: str, idle: _Idle) -> None:
        """Put files in place as those of a version; users of the former ones keep those open."""
        with self._lock:
            user = self._named.pop(name, None)
            if user is not None:
                user.listed = False
            former = self._idle.pop(name, None)
            self._idle[name] = idle
            self._note(name)
        if former is not None:
            self._discard(former)
        self._trim()

    def _seal(self, file: CacheFile) -> None:
        with self._lock:
            self._unsealed.put(file)
            if self._sealer is None:
                self._sealer = Thread(target=self._run_sealer, name="cache-seal", daemon=True)
                self._sealer.start()

    def _run_sealer(self) -> None:
        while (file := self._unsealed.get()) is not None:
            with bulkhead("the checksums of a cached file", key=file.identity.key):
                self._seal_now(file)

    def _seal_now(self, file: CacheFile) -> None:
        try:
            file.seal(self._closing.is_set)
        except OSError as error:
            self._health.failed(error)
        finally:
            file.close()

    def rename(self, key: str, etag: str, new_key: str, new_etag: str) -> None:
        """Note that our own copy gave the same bytes another key or ETag."""
        old, new = Identity(key, etag, 0).name, Identity(new_key, new_etag, 0).name
        if old == new:
            return
        with self._lock:
            file = self._named.get(old)
            idle = self._idle.pop(old, None)
            if file is not None:
                file.users += 1
            else:
                self._forget(old)
        if file is not None:
            try:
                self._rename_open(file, Identity(new_key, new_etag, file.size), old)
            finally:
                file.close()
        elif idle is not None:
            self._rename_idle(idle, new_key, new_etag)

    def _rename_open(self, file: CacheFile, identity: Identity, old: str) -> None:
        with self._lock:
            if self._named.get(old) is not file:
                return
            del self._named[old]
            file.listed = False
            self._forget(old)
        try:
            file.rename(identity, self._dir.stem(identity.name))
        except (OSError, BrokenIndex) as error:
            log.warning("cached content of %s not kept: %s", identity.key, error)
            return
        with self._lock:
            if identity.name in self._named:
                return
            file.listed = True
            former = self._idle.pop(identity.name, None)
            self._named[identity.name] = file
            self._note(identity.name)
        if former is not None:
            self._discard(former)

    def _rename_idle(self, idle: _Idle, key: str, etag: str) -> None:
        name = Identity(key, etag, 0).name
        stem = self._dir.stem(name)
        try:
            idle.place.rename(key, etag, stem)
        except (OSError, BrokenIndex) as error:
            log.warning("cached content of %s not kept: %s", key, error)
            self._discard(idle)
            return
        self._place(name, _Idle(idle.place.under(stem), idle.held, idle.origin))

    def drop(self, key: str) -> None:
        """Forget every version of a key; users with an open one keep reading it."""
        dropped = []
        with self._lock:
            for name in self._keys.pop(key_hash(key), ()):
                idle = self._idle.pop(name, None)
                if idle is not None:
                    dropped.append(idle)
                file = self._named.pop(name, None)
                if file is not None:
                    file.listed = False
        for idle in dropped:
            self._discard(idle)

    def evict(self, want: int) -> int:
        """Free `want` bytes of clean content, or all evictable; return the bytes freed."""
        freed = 0
        while freed < want:
            idle = self._oldest(beyond=0)
            if idle is None:
                break
            self._discard(idle)
            freed += idle.held
        for file in self._users() if freed < want else ():
            if freed < want:
                freed += file.shed(want - freed)
            file.close()
        return freed

    def _trim(self) -> None:
        """Remove the versions that are too many to be remembered, and those in too many slabs."""
        while len(self._idle) > self._most and (idle := self._oldest(self._most)):
            self._discard(idle)
        for idle in self._sparse() if self._slabs.crowded else ():
            self._discard(idle)

    def _sparse(self) -> list[_Idle]:
        """Take out the versions in the emptiest slab, but for those that are open."""
        within: dict[Slab, list[str]] = {}
        with self._lock:
            for name, idle in self._idle.items():
                if isinstance(idle.place, SlabSlot) and idle.place.slab is not None:
                    within.setdefault(idle.place.slab, []).append(name)
            slab = self._slabs.sparsest(within)
            found = [self._idle.pop(name) for name in within[slab]] if slab is not None else []
            for name in within[slab] if slab is not None else ():
                self._forget(name)
        return found

    def _oldest(self, beyond: int) -> _Idle | None:
        """Take out the version used longest ago, where more than `beyond` are not open."""
        with self._lock:
            if len(self._idle) <= beyond:
                return None
            name, idle = self._idle.popitem(last=False)
            self._forget(name)
            return idle

    def _users(self) -> list[CacheFile]:
        """Return the open files, least recently opened first, each with one more user."""
        with self._lock:
            for file in self._open.values():
                file.users += 1
            return list(self._open.values())

    def close(self) -> None:
        """Stop the background work and let another process have the directory."""
        self._unsealed.put(None)
        if self._sealer is not None:
            self._sealer.join(SEAL_SECONDS)
            self._closing.set()
            self._sealer.join()
        while not self._unsealed.empty():
            file = self._unsealed.get()
            if file is not None:
                file.close()
        with self._lock:
            self._idle.clear()
        self._slabs.close()
        self._dir.close()

    def _discard(self, idle: _Idle) -> None:
        idle.place.remove()
        self._account.give(idle.held)

    def _note(self, name: str) -> None:
        self._keys.setdefault(name.partition("-")[0], set()).add(name)

    def _forget(self, name: str) -> None:
        if name in self._idle or name in self._named:
            return
        key = name.partition("-")[0]
        names = self._keys.get(key)
        if names is not None:
            names.discard(name)
            if not names:
                del self._keys[key]
