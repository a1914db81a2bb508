"""Which mounts of a node use its cache: a socket and a server for each of them.

What can't be had, a directory on a full or broken disk, is logged and done without: mounts work as
they do without a shared cache.

Not here: what is in the cache (`nodecache`), who is asked for a scope (`publication`).
Threading: any thread. `_lock` guards which servers there are; the cache is made while it is held,
by the first mount that shares.
"""

from dataclasses import dataclass
from pathlib import Path

from fusefs import locks
from fusefs.errors import SetupError
from fusefs.keeper import cacheprotocol, protocol
from fusefs.keeper.keptmount import log
from fusefs.locks import Rank
from fusefs.node.cacheserver import CacheServer
from fusefs.node.nodecache import NodeCache
from fusefs.node.publication import Target


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Where the node's cache is, and how much it may take; `size` 0: there is none."""

    directory: Path
    size: int
    keep_free: int  # percent of the disk


class Sharing:
    """The mounts that use the node's cache."""

    def __init__(self, limits: CacheLimits, worker_uid: int) -> None:
        self._limits = limits
        self._worker_uid = worker_uid
        self._lock = locks.lock(Rank.SHARING)
        self._cache: NodeCache | None = None
        self._servers: dict[Target, CacheServer] = {}

    def begin(self, target: Target, scope: str, directory: int) -> None:
        """Serve a mount's worker in the open directory of its pod, unless that is done."""
        with self._lock:
            if target in self._servers or not self._limits.size:
                return
            try:
                self._cache = self._cache or self._make()
                name = cacheprotocol.NAME.format(target.name)
                listener = protocol.listen_in(directory, name, self._worker_uid, 1)
            except (OSError, SetupError) as error:
                log("error", "a mount does without the node's cache", error=str(error))
                return
            self._servers[target] = CacheServer(listener, scope, self._cache, self._worker_uid)
            held, mounts = self._cache.held, len(self._servers)
        log("info", "shares the node's cache", pod=target.pod, held=held, mounts=mounts)

    def end(self, target: Target) -> None:
        """Hang up on a mount's worker."""
        with self._lock:
            server = self._servers.pop(target, None)
        if server is not None:
            server.close()

    def close(self) -> None:
        """Hang up on all; the blocks stay for the next plugin."""
        with self._lock:
            servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.close()
        if self._cache is not None:
            self._cache.close()

    def _make(self) -> NodeCache:
        limits = self._limits
        return NodeCache(limits.directory, limits.size, limits.keep_free)
