"""What is found about a pod's mounts, and which of it is new: pure functions.

The end of a container is in the pod's status; all else is a number of the worker's metrics
that has grown. Numbers begin at 0 with each worker process, and what a worker counted before we
began to look was reported by our predecessor.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from webhook.events.mountedpods import MountedPod
from webhook.injected import WORKER
from webhook.platform.reporting import CONFLICT, CREDENTIALS, FULL, MOUNT_FAILED, REMOUNTED


@dataclass(frozen=True)
class _Meaning:
    """The event that a metric's growth is, and what it means to the pod's owner."""

    reason: str
    text: str


_COUNTED = {
    "conflicts_total": _Meaning(
        CONFLICT,
        "another writer changed a file first; this pod's version is kept in the cache volume: see"
        " `kubectl s3mount {pod} conflicts`",
    ),
    "full_disk_errors_total": _Meaning(
        FULL,
        "a program got ENOSPC: the cache is full of what isn't in the store yet; is the store"
        " slow, or s3.mount/cache-size too small?",
    ),
    "credentials_refused_total": _Meaning(
        CREDENTIALS,
        "the store takes the credentials no longer, or there are none: renew the Secret or the"
        " role",
    ),
    "remounted": _Meaning(
        REMOUNTED,
        "the worker died and the mount was made anew: files that were open have failed, and what"
        " was changed is uploaded",
    ),
}
COUNTED = frozenset(_COUNTED)


@dataclass(frozen=True)
class Finding:
    """Something a pod's owner should know; `times` it happened since the last look."""

    reason: str
    about: str
    message: str
    container: str
    times: int = 1


@dataclass(frozen=True)
class Values:
    """The metrics of one worker process: when it began (Unix time), and numbers by mount."""

    began: float
    mounts: Mapping[str, Mapping[str, float]]


@dataclass
class Known:
    """What was seen of one pod; `since` is when we began to look at all (Unix time)."""

    since: float
    ends: dict[str, str] = field(default_factory=dict)
    values: Values | None = None

    def ended(self, pod: MountedPod) -> Iterator[Finding]:
        """Yield the failed ends of containers that are new."""
        for end in pod.ends:
            if self.ends.get(end.container) == end.finished:
                continue
            self.ends[end.container] = end.finished
            if end.at >= self.since:
                message = f"{end.container} ended: {end.why}"
                yield Finding(MOUNT_FAILED, end.container, message, end.container)

    def counted(self, pod: MountedPod, now: Values) -> Iterator[Finding]:
        """Yield what has happened since the last look at the metrics."""
        same = self.values is not None and self.values.began == now.began
        before = self.values.mounts if self.values is not None and same else {}
        known_before = not same and now.began < self.since
        self.values = now
        if known_before:
            return
        for mount in sorted(now.mounts.keys() & set(pod.mounts)):
            earlier = before.get(mount, {})
            for name, meaning in _COUNTED.items():
                times = int(now.mounts[mount].get(name, 0) - earlier.get(name, 0))
                if times > 0:
                    text = f"mount {mount}: {meaning.text.format(pod=pod.name)}"
                    yield Finding(meaning.reason, mount, text, WORKER, times)
