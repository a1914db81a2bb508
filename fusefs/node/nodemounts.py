"""All mounts of a node: published, unpublished, and found again after a restart of the plugin.

What is mounted is read from the mount table, so there is no state on disk that could be wrong. A
mountpoint is never asked for anything: before its worker answers that would wait for good.

Threading: any thread. `_lock` guards which pods there are, their nonces, and how many threads use
each; nothing is done while it is held.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from fusefs import locks
from fusefs.keeper.keptmount import log
from fusefs.kernel import mountcalls
from fusefs.locks import Rank
from fusefs.node.podkeeper import PodKeeper
from fusefs.node.publication import Publication, PublishError, Target, recalled, target_of
from fusefs.node.sharing import Sharing
from fusefs.node.socketvolume import VOLUME, WAIT_SECONDS, SocketVolumes

# The kubelet writes it before it asks for a volume and removes it after it has given it back.
RECORD = "vol_data.json"
RESTORED_AT_ONCE = 8


class NodeMounts:
    """The keepers of the pods of this node."""

    def __init__(
        self,
        pods: str,
        worker_uid: int,
        sharing: Sharing | None = None,
        *,
        wait: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pods`: the kubelet's directory. `wait`: seconds that a pod's socket volume may take.

        `sharing`: the mounts that use the node's cache.
        """
        self._sharing = sharing
        self._directory = pods
        self._worker_uid = worker_uid
        self._wait = wait
        self._clock = clock
        self._volumes = SocketVolumes(pods)
        self._lock = locks.lock(Rank.LEAF)
        self._pods: dict[str, PodKeeper] = {}
        self._users: Counter[str] = Counter()
        self._nonces: dict[str, str] = {}  # of the volumes' tokens: the uid of the pod that has it

    def restore(self) -> None:
        """Wait for the workers of what is mounted; unmount what belongs to pods that are gone."""
        left: list[tuple[Target, str, bool, str]] = []
        for path, number, read_only, source in mountcalls.fuse_mounts_with_details():
            target = target_of(path, self._directory)
            if target is None:
                continue
            record = os.path.join(os.path.dirname(target.path), RECORD)  # noqa: PTH118, PTH120
            if os.path.lexists(record):
                left.append((target, number, read_only, source))
            else:
                self._clean(path)
        with ThreadPoolExecutor(RESTORED_AT_ONCE) as pool:
            list(pool.map(lambda each: self._restore(*each), left))

    def publish(self, asked: Publication) -> None:
        """Mount a volume for its pod's worker; PublishError says why it can't be."""
        directory = self._socket_volume(asked)
        target = asked.target
        try:
            with self._using(target.pod) as keeper:
                self._bind(asked)
                keeper.listen(directory)
                keeper.publish(
                    target.name, target.path, read_only=asked.read_only, source=asked.source
                )
            if asked.scope and self._sharing is not None:
                self._sharing.begin(target, asked.scope, directory)
        except (OSError, TimeoutError) as error:
            where = f"volume {target.volume} of pod {asked.namespace}/{asked.pod_name}"
            raise PublishError("INTERNAL", f"{where} can't be mounted: {error}") from error
        finally:
            os.close(directory)

    def unpublish(self, target: Target) -> None:
        """End a mount and remove its directory, whatever is dead; no error if it is gone."""
        stuck = False
        if self._sharing is not None:
            self._sharing.end(target)
        with self._lock:
            known = target.pod in self._pods
        if known:
            with self._using(target.pod) as keeper:
                try:
                    keeper.remove(target.name)
                except TimeoutError:
                    stuck = True
                    log("error", "a pod's keeper hangs: its mount is aborted", pod=target.pod)
                    self._forget(target.pod)
                    keeper.close()  # its thread ends when it can; the pod is ending anyway
        try:
            mountcalls.unmount_stale(target.path, abort=stuck)
            with suppress(FileNotFoundError):
                os.rmdir(target.path)  # noqa: PTH106 - as a text, like all paths here
        except OSError as error:
            reason = error.strerror or error
            raise PublishError("INTERNAL", f"{target.path} can't be removed: {reason}") from error

    def close(self) -> None:
        """Hang up on all workers; mounts stay as they are, for the next plugin."""
        with self._lock:
            pods, self._pods = self._pods, {}
        for keeper in pods.values():
            keeper.close()
        if self._sharing is not None:
            self._sharing.close()

    def _forget(self, pod: str) -> None:
        with self._lock:
            self._pods.pop(pod, None)
            self._unbind(pod)

    def _bind(self, asked: Publication) -> None:
        """Note whose nonce it is; PublishError while another pod of the node has it."""
        with self._lock:
            owner = self._nonces.setdefault(asked.nonce, asked.target.pod)
        if owner != asked.target.pod:
            where = f"volume {asked.target.volume} of pod {asked.namespace}/{asked.pod_name}"
            text = f"{where} was copied from the pod with uid {owner}, which runs on this node"
            raise PublishError("PERMISSION_DENIED", text)

    def _unbind(self, pod: str) -> None:
        """Forget the nonces of a pod that has no mount left; the lock is held."""
        for nonce in [each for each, owner in self._nonces.items() if owner == pod]:
            del self._nonces[nonce]

    def _socket_volume(self, asked: Publication) -> int:
        try:
            return self._volumes.open(asked.target.pod, self._wait)
        except OSError as error:
            code = "DEADLINE_EXCEEDED" if isinstance(error, FileNotFoundError) else "INTERNAL"
            text = (
                f"the volume {VOLUME} of pod {asked.namespace}/{asked.pod_name} can't be used"
                f" after {self._wait:g} s: {error.strerror}; the kubelet tries again"
            )
            raise PublishError(code, text) from error

    @contextmanager
    def _using(self, pod: str) -> Iterator[PodKeeper]:
        """Lend a pod's keeper; one without mounts ends with its last user."""
        with self._lock:
            keeper = self._pods.get(pod)
            if keeper is None:
                keeper = self._pods[pod] = PodKeeper(pod, self._worker_uid, self._clock)
            self._users[pod] += 1
        try:
            yield keeper
        finally:
            with self._lock:
                self._users[pod] -= 1
                unused = not self._users[pod]
                if unused:
                    del self._users[pod]
                    unused = keeper.empty and self._pods.pop(pod, None) is not None
                    if unused:
                        self._unbind(pod)
            if unused:
                keeper.close()

    def _restore(self, target: Target, number: str, read_only: bool, source: str) -> None:
        """Listen for the worker of a mount; failing that, the mount can only be unpublished.

        Only root makes mounts, so what the mount table says of its `source` is believed.
        """
        nonce, scope = recalled(source)
        try:
            with self._using(target.pod) as keeper:
                keeper.restore(target.name, target.path, number, read_only=read_only, source=source)
                with self._lock:
                    self._nonces[nonce] = target.pod
                directory = self._volumes.open(target.pod, wait=0)
                try:
                    keeper.listen(directory)
                    if scope and self._sharing is not None:
                        self._sharing.begin(target, scope, directory)
                finally:
                    os.close(directory)
        except OSError as error:
            log("error", "a pod's socket can't be made", pod=target.pod, error=str(error))
            return
        log("info", "waiting for the worker of a mount", pod=target.pod, mount=target.name)

    def _clean(self, path: str) -> None:
        try:
            mountcalls.unmount(path)
            os.rmdir(path)  # noqa: PTH106 - as a text, like all paths here
        except OSError as error:
            log("error", "cannot unmount what a pod left", mountpoint=path, error=str(error))
        else:
            log("warning", "unmounted what a pod left", mountpoint=path)
