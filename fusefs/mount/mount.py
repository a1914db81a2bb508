"""Building one mount from its settings, bottom up, and taking it down again.

Not here: the driver that serves it. `open_mount` checks that the bucket answers before anything is
mounted, `Mounted.close` uploads what is dirty.
"""

import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fusefs.bulkhead import bulkhead
from fusefs.cache.cache import Cache, KernelReads
from fusefs.disk.audit import miscounted
from fusefs.disk.presence import DirectoryPresence
from fusefs.disk.space import Space
from fusefs.errors import AccessDenied, FsError, NotFound, SetupError
from fusefs.interface import Invalidations, Silent
from fusefs.mount.cacheroot import CacheRoot, Owner, made
from fusefs.mount.diagnosis import diagnosis
from fusefs.mount.livecounts import LiveCounts
from fusefs.mount.nodecacheclient import NodeCacheClient
from fusefs.mount.pools import Pools
from fusefs.mount.retrier import Retrier
from fusefs.mount.settings import MountSettings
from fusefs.mount.takeover import Takeover, most_changed_files
from fusefs.names.firstbytes import FirstBytes
from fusefs.names.lookup import Lookup
from fusefs.names.namespace import Namespace
from fusefs.names.objectmoves import ObjectMover
from fusefs.names.pagememory import PageMemory
from fusefs.names.remembered import Remembered
from fusefs.names.rename import Renames
from fusefs.names.rootattributes import RootAttributes
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import NODE_BYTES, Tree
from fusefs.posix.filesystem import Filesystem
from fusefs.posix.openfiles import OpenFiles
from fusefs.posix.sweeps import Sweeps
from fusefs.read.reader import Reader, ReadLimits
from fusefs.s3.conditionprobes import Conditions
from fusefs.s3.store import Store
from fusefs.session.sessionlog import SessionLog, SessionState
from fusefs.session.startmode import StartMode
from fusefs.timings import Timings
from fusefs.write.abandoned import AbandonedUploads
from fusefs.write.contents import FileContents
from fusefs.write.flush import Flush
from fusefs.write.staging import Staging
from fusefs.write.uploader import Uploader

log = logging.getLogger(__name__)

# A file of a resumed mount may still be open: its writer's own close comes first, and gives the
# writer.
RESTORED_WAIT = 5.0
# How long a store may be away before the mount counts as unwell; retries bridge shorter gaps.
UNWELL_AFTER = 60.0
# What isn't uploaded at the end is synced for another boot, as far as this goes: the grace period
# may be over.
SEAL_SECONDS = 2.0
AUDIT = "S3MOUNT_SPACE_AUDIT"  # set by tests, for themselves and what they start
NAMED_MOST = 20  # files left behind that are named one by one


class Mounted:
    """A filesystem ready to be served, and everything below it."""

    def __init__(
        self,
        settings: MountSettings,
        store: Store,
        cache_dir: Path,
        mode: StartMode,
        invalidations: Invalidations,
        kernel_reads: Collection[str] = (),
    ) -> None:
        self.settings = settings
        self.mode = mode
        self.store = store
        space = Space(cache_dir, settings.cache_size, settings.keep_free, settings.fake_disk_free)
        self.cache = _cache(settings, cache_dir, space)
        self.cache.kernel_reads = KernelReads(kernel_reads)
        self._limits = _read_limits(settings)
        self.reader = Reader(store, self.cache, self._limits, store.counters, _node(settings))
        self._pools = Pools(settings)
        stored = settings.metadata == "posix"
        made(cache_dir / "staged")
        self.staging = Staging(
            cache_dir,
            space,
            self.cache,
            store.counters,
            settings.full_wait,
            most_changed_files(),
        )
        uploader = _uploader(settings, store, self._pools)
        self._contents = FileContents(self.staging, self.reader, uploader)
        self._flush = Flush(settings.plan.threshold)
        log_path = cache_dir / "session.log"
        state = SessionLog.read(log_path) if mode is StartMode.RESUMED else SessionState()
        self._presence = DirectoryPresence(self.staging.directory)
        self.cache_removed = False
        self._journal = SessionLog(log_path, state) if mode is not StartMode.SINGLE else None
        tree = _tree(settings, self._journal)
        tree.invalidations = invalidations
        lookup = self._lookup(tree, stored)
        lookup.root = RootAttributes(cache_dir) if stored else None
        dirty = self.staging.dirty
        copies = SelfCopies(tree, lookup, uploader, self.cache)
        self.files = self._open_files(tree, lookup, copies)
        mover = ObjectMover(store, uploader, self._pools.moves)
        journals = cache_dir / "renames"
        renames = Renames(tree, lookup, copies, mover, self.cache, dirty, journals)
        namespace = Namespace(tree, lookup, renames, self.cache, dirty, settings.read_only)
        self.filesystem = Filesystem(
            tree, lookup, self.files, copies, namespace, self._flush, dirty, settings.shown
        )
        self._renames = renames
        self._takeover = Takeover(self.staging, self._contents)
        self._go_on(state)
        self._retrier = Retrier(self.staging.dirty, self._flush, self.files.settle, self._look)
        self._retrier.start()
        self._abandoned = AbandonedUploads(
            store, settings.prefix, self.staging.directory, settings.abort_uploads
        )
        if mode is not StartMode.RESUMED and settings.abort_uploads and not settings.read_only:
            self._abandoned.start()

    def _open_files(self, tree: Tree, lookup: Lookup, copies: SelfCopies) -> OpenFiles:
        settings, first, without = self.settings, self._limits.first, self.settings.without
        ahead, ttl = self._pools.ahead, settings.content_ttl
        self.sweeps = Sweeps(tree, lookup, self.cache, ahead, first, ttl)
        given = settings.passthrough_bytes, "passthrough" not in without, "splice" not in without
        access = settings.read_only, self.sweeps, *given
        return OpenFiles(tree, lookup, copies, self._contents, self.cache, first, *access)

    def _lookup(self, tree: Tree, stored: bool) -> Lookup:
        settings = self.settings
        remembered = Remembered(settings.remembered, settings.names_memory.remembered)
        without = settings.without
        # Only the native driver's kernel learns how long each attribute is valid.
        asks_first = self.mode is not StartMode.SINGLE and "opens" not in without
        shared = settings.node_cache is not None
        first = FirstBytes(self.store, self._limits.first, enabled=asks_first, shared=shared)
        lookup = Lookup(
            tree, self.store, self._pools, settings.defaults, stored, remembered, without, first
        )
        lookup.negative_ttl = settings.negative_ttl
        lookup.absent_ttl = settings.content_ttl
        lookup.markers.folders = settings.folder_markers
        lookup.invalidations = tree.invalidations
        return lookup

    def _go_on(self, state: SessionState) -> None:
        """Take over what a former process left: changed files, renames, what was open."""
        resumed = self.mode is StartMode.RESUMED
        restored = self._takeover.begin(RESTORED_WAIT if resumed else 0.0, everything=resumed)
        self._renames_at = float("inf") if self.settings.read_only else time.monotonic()
        if not resumed:
            self._finish_renames()
        self.filesystem.restore(state, restored)
        if resumed:
            self._renames.restore()
            # Who waits for a rename asks for it again; nobody else should wait for it, too.
            self._renames_at += RESTORED_WAIT

    def _look(self) -> None:
        if not self.cache_removed and self._presence.gone():
            self.cache_removed = True
            log.error(
                "the cache directory was removed: the mount goes on without, what is changed is "
                "uploaded at once, and a killed process would lose what isn't",
                extra={"cache_dir": str(self.staging.root)},
            )
        if self.cache_removed:  # no next process finds what these have
            for body in self.staging.dirty.all():
                body.retry.hurry()
        self._take_over_more()
        self._finish_renames()

    def _take_over_more(self) -> None:
        for body in self._takeover.more():
            self.filesystem.found(body)

    def _finish_renames(self) -> None:
        if self._renames_at <= time.monotonic():
            self._renames_at = float("inf")
            with bulkhead("finishing renames"):
                self._renames.finish_left()

    # -- what a worker asks (`servedmount.Served`) ------------------------------------------------

    @property
    def calls(self) -> Filesystem:
        """The filesystem to be served."""
        return self.filesystem

    @property
    def message_memory(self) -> int:
        """Bytes that the kernel's requests and their answers may take."""
        return self.settings.message_memory

    @property
    def times(self) -> Timings[tuple[str, int]]:
        """How long file operations took, by name and errno."""
        return self.store.counters.operations

    def open_handles(self) -> Mapping[int, int]:
        """Return the open file handles, each with its node."""
        return self.files.open_handles()

    def counts(self) -> Mapping[str, float]:
        """Return the numbers that `fusefs status` shows, by name."""
        return LiveCounts(self.store.counters, self.staging.dirty).read(
            open_handles=len(self.open_handles()),
            cache_bytes=self.cache.held,
            cache_limit_bytes=self.settings.cache_size,
        )

    def diagnosis(self) -> Iterable[tuple[str, Mapping[str, object]]]:
        """Return lines for the log about what this mount holds, each with its fields."""
        return diagnosis(self)

    def open_contents(self) -> Mapping[int, int]:
        """Return the open file handles, each with the number of its content."""
        return self.files.open_contents()

    def trouble(self) -> str:
        """Return why the mount isn't well, "" when it is; no request."""
        if self.cache_removed:
            return "the cache directory was removed: restart the mount when nothing is dirty"
        away = self.store.unreachable_for()
        if away > UNWELL_AFTER:
            return f"the store has not answered for {away:.0f} s"
        for body in self.staging.dirty.all():
            if body.retry.last_error:
                return f"changes of {body.key} can't be uploaded: {body.retry.last_error}"
        return self._journal.trouble() if self._journal is not None else ""

    def activity(self) -> int:
        """Return a number that grows with each answer, retry and byte of store and cache."""
        return self.store.counters.activity()

    def refuse_writes(self) -> None:
        """From now on, EROFS for whatever would make something dirty."""
        self.files.closing = self.filesystem.namespace.closing = True

    def dirty(self) -> tuple[int, int]:
        """Return the number of files and bytes that are not in S3 yet."""
        left = self.staging.dirty.all()
        return len(left) + self._takeover.waiting, sum(body.size for body in left)

    def drain(self, stop: threading.Event) -> bool:
        """Upload everything dirty until `stop`; return whether all of it is in S3."""
        done = self._retrier.drain(stop)
        while done and self._takeover.waiting:
            self._take_over_more()
            done = self._retrier.drain(stop)
        self.store.late.settle(stop)
        return done

    def tell_left(self) -> None:
        """Name what isn't in S3 and stays on the cache volume."""
        left = self.staging.dirty.all()
        for body in left[:NAMED_MOST]:
            log.error(
                "not uploaded; kept on the cache volume for the next start",
                extra={"key": body.key, "bytes": body.size, "why": body.retry.last_error},
            )
        many = len(left) + self._takeover.waiting
        if many:
            log.error(
                "files that aren't uploaded: the next start with this cache directory does it",
                extra={"files": many, "directory": str(self.staging.directory)},
            )

    def _seal_left(self) -> None:
        until = time.monotonic() + SEAL_SECONDS
        for body in self.staging.dirty.all():
            if time.monotonic() < until:
                with bulkhead("sealing a staged file", key=body.key):
                    body.seal()

    def _check_space(self) -> None:
        """Say whether the space is miscounted, where a test asks for that."""
        if AUDIT in os.environ and not self.open_handles():
            self.staging.kept.recount()
            wrong = miscounted(self.staging.space, self.staging.root)
            if wrong:
                log.error("space is miscounted", extra={"difference": wrong})

    def close(self) -> None:
        """Let go of everything; the journal keeps what isn't in S3."""
        self._abandoned.stop()
        self._retrier.stop()
        self.tell_left()
        self._seal_left()
        self._flush.close()
        self.reader.close()
        self._check_space()
        self._pools.close()
        self.cache.close()
        self._presence.close()
        self.store.close()
        if self._journal is not None:
            self._journal.close()


def _cache(settings: MountSettings, cache_dir: Path, space: Space) -> Cache:
    slabs = "slabs" not in settings.without
    return Cache(cache_dir / "blocks", space, settings.cached_versions, slabs=slabs)


def _read_limits(settings: MountSettings) -> ReadLimits:
    fill, ahead = settings.background_fill / 100, "readahead" not in settings.without
    return ReadLimits(settings.read_memory, settings.parallel, fill=fill, ahead=ahead)


def _node(settings: MountSettings) -> NodeCacheClient | None:
    path, keys = settings.node_cache, settings.store.credentials_dir
    return NodeCacheClient.of(path, keys) if path is not None else None


def _uploader(settings: MountSettings, store: Store, pools: Pools) -> Uploader:
    return Uploader(
        store,
        pools.uploads,
        settings.plan,
        pools.copies,
        stores_attributes=settings.metadata == "posix",
        overwrites=settings.on_conflict == "overwrite",
    )


def _tree(settings: MountSettings, journal: SessionLog | None) -> Tree:
    memory = settings.names_memory
    pages, nodes = PageMemory(memory.pages), memory.nodes // NODE_BYTES
    return Tree(settings.prefix, settings.attr_ttl, journal, pages, nodes)


def open_mount(
    settings: MountSettings,
    mode: StartMode = StartMode.SINGLE,
    invalidations: Invalidations | None = None,
    kernel_reads: Collection[str] = (),
    *,
    reached: bool = False,
) -> Mounted:
    """Reach the bucket, then build the mount; raises SetupError with the line for its user.

    `reached`: `check` has just done so. `kernel_reads`: those of a former process.

    A resumed mount asks nothing first: its callers are waiting, and it must answer what it can
    even while S3 doesn't.
    """
    store = Store(settings.store)
    resumed = mode is StartMode.RESUMED
    root = CacheRoot.of(settings, Owner.of(settings, store.client.endpoint), ours=resumed)
    conditions = Conditions(store, settings.prefix, root.path)
    if resumed:
        conditions.recall()
    else:
        if not reached:
            reach(settings)
        conditions.keep()
    root.claim()
    return Mounted(settings, store, root.path, mode, invalidations or Silent(), kernel_reads)


def check(settings: MountSettings) -> None:
    """Raise SetupError with the line for its user where the mount can't start."""
    store = Store(settings.store)
    try:
        CacheRoot.of(settings, Owner.of(settings, store.client.endpoint))
    finally:
        store.close()
    reach(settings)


def reach(settings: MountSettings) -> None:
    """Ask the bucket for one key, patiently enough for a slow start, not for a wrong endpoint."""
    bucket = settings.store.bucket
    where = settings.store.endpoint_url or "AWS"
    first = Store(
        replace(settings.store, retries=2, retry_for=0.0, connect_timeout=3.0, read_timeout=8.0)
    )
    try:
        first.list_page(settings.prefix, limit=1)
    except NotFound as error:
        raise SetupError(f"bucket {bucket} does not exist at {where}") from error
    except AccessDenied as error:
        raise SetupError(f"bucket {bucket}: {where} refuses these credentials: {error}") from error
    except FsError as error:
        raise SetupError(f"bucket {bucket}: {where} can't be used: {error}") from error
    finally:
        first.close()
