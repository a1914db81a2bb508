"""The metrics of a mount as data: name, type, help, labels, and where each value is read.

docs/metrics.md is made of this table, and dashboards and alerts are checked against it, so a new
metric is one row. Names have the suffix that Prometheus asks for: total for what only grows, the
unit, bytes or seconds, before it. No label comes from a key or a name of
a file: `mount` is the mount's own, all others are short closed lists.

Not here: the text format (`metrics`). Values are asked for when somebody reads the metrics; a
function here must return at once and ask no store.
"""

import errno
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fusefs.counters import Count
from fusefs.mount.mount import Mounted
from fusefs.session.startmode import StartMode
from fusefs.timings import Durations, Key, Timings

PREFIX = "s3mount_"


class Kind(Enum):
    """The types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


Value = float | Durations
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric; `read` returns its values by the labels after `mount`."""

    name: str
    kind: Kind
    help: str
    read: Callable[[Mounted], Mapping[Labels, Value]]
    labels: Labels = ()

    @property
    def exposed(self) -> str:
        """The name that queries use; of a histogram, what `_bucket` and so on are appended to."""
        return PREFIX + self.name + ("_total" if self.kind is Kind.COUNTER else "")


def _gauge(name: str, read: Callable[[Mounted], float], text: str) -> MetricRow:
    return MetricRow(name, Kind.GAUGE, text, lambda mounted: {(): read(mounted)})


def _wasted(mounted: Mounted) -> Mapping[Labels, Value]:
    mounted.sweeps.settle()
    return {(): mounted.store.counters.get(Count.AHEAD_WASTED)}


def _count(name: str, count: Count, text: str) -> MetricRow:
    def read(mounted: Mounted) -> Mapping[Labels, Value]:
        return {(): mounted.store.counters.get(count)}

    return MetricRow(name, Kind.COUNTER, text, read)


def _seconds(
    name: str,
    timings: Callable[[Mounted], Timings[Key]],
    text: str,
    labels: Labels,
    of: Callable[[Key], Labels],
) -> MetricRow:
    def read(mounted: Mounted) -> Mapping[Labels, Value]:
        return {of(key): noted for key, noted in timings(mounted).read().items()}

    return MetricRow(name, Kind.HISTOGRAM, text, read, labels)


def _requests(mounted: Mounted) -> Mapping[Labels, Value]:
    return dict(sorted(mounted.store.counters.requests().items()))


def _operation(key: tuple[str, int]) -> Labels:
    name, number = key
    return name, errno.errorcode.get(number, str(number)) if number else "ok"


def _alone(key: Hashable) -> Labels:
    return (str(key),)


ROWS: tuple[MetricRow, ...] = (
    # Is it well?
    _gauge(
        "well",
        lambda m: float(not m.trouble()),
        "1 while the mount is well, as its probe says.",
    ),
    _gauge(
        "resumed",
        lambda m: float(m.mode is StartMode.RESUMED),
        "1 if the worker went on with the mount of one that died: nothing was lost.",
    ),
    _gauge(
        "remounted",
        lambda m: float(m.mode is StartMode.RENEWED),
        "1 if the worker mounted anew after one that died: what was open failed.",
    ),
    # What programs see.
    _seconds(
        "operation_seconds",
        lambda m: m.times,
        "Time in which file operations were answered, by their name and errno; ok is success."
        " Without what the kernel answers itself.",
        ("operation", "errno"),
        _operation,
    ),
    _gauge("open_handles", lambda m: len(m.open_handles()), "Open files."),
    # What the store sees.
    MetricRow(
        "store_requests",
        Kind.COUNTER,
        "Requests by S3 operation and outcome: ok, or the error they ended with"
        " (NotFound, AccessDenied, Stale, Unavailable, …).",
        _requests,
        ("operation", "outcome"),
    ),
    _seconds(
        "store_first_byte_seconds",
        lambda m: m.store.counters.first_bytes,
        "Time from sending a request to the head of its answer; one try, the successful one.",
        ("operation",),
        _alone,
    ),
    _seconds(
        "store_request_seconds",
        lambda m: m.store.counters.answers,
        "Time until the last byte of an answer, with all tries and the pauses between them.",
        ("operation",),
        _alone,
    ),
    _count("store_retries", Count.RETRIED, "Requests that were sent again."),
    _count(
        "store_received_bytes", Count.RECEIVED, "Bytes of object content received from the store."
    ),
    _count("store_sent_bytes", Count.SENT, "Bytes of object content sent to the store."),
    _gauge(
        "store_silent_seconds",
        lambda m: m.store.silent_for(),
        "Seconds since the store last answered; grows while nothing is asked of it.",
    ),
    _gauge(
        "store_unreachable_seconds",
        lambda m: m.store.unreachable_for(),
        "Seconds since the store began to leave requests unanswered; 0 while it answers.",
    ),
    _count(
        "credential_refreshes",
        Count.CREDENTIALS,
        "Times that requests began to be signed with another access key.",
    ),
    _count(
        "credentials_refused",
        Count.LAPSED,
        "Requests given up because the store takes the credentials no longer, or there are none.",
    ),
    # The cache.
    _count("cache_hit_bytes", Count.HIT, "Bytes that reads took from the cache disk."),
    _count("cache_miss_bytes", Count.MISSED, "Bytes that reads took from the store, ahead or not."),
    _gauge("cache_bytes", lambda m: m.cache.held, "Bytes of cached content on disk."),
    _count("node_cache_read_bytes", Count.NODE_READ, "Bytes taken from the cache of the node."),
    _count(
        "node_cache_kept_bytes",
        Count.NODE_KEPT,
        "Bytes that this mount got from the store for all pods of the node.",
    ),
    _count(
        "node_cache_passed_bytes",
        Count.NODE_PASSED,
        "Bytes got from the store past the node's cache: it was away, full, or others took long.",
    ),
    _gauge("cache_limit_bytes", lambda m: m.settings.cache_size, "What --cache-size allows."),
    _gauge(
        "cache_removed",
        lambda m: float(m.cache_removed),
        "1 if the cache directory was removed under the mount; restart it.",
    ),
    # What isn't safe yet.
    _gauge(
        "dirty_files",
        lambda m: len(m.staging.dirty.all()),
        "Files with changes that aren't in the store.",
    ),
    _gauge(
        "dirty_bytes",
        lambda m: sum(body.unsent for body in m.staging.dirty.all()),
        "Bytes that were changed and aren't in the store.",
    ),
    _gauge(
        "dirty_oldest_seconds",
        lambda m: m.staging.dirty.oldest(),
        "Seconds for which some file has had changes that aren't in the store; 0 without."
        " Begins anew with the worker.",
    ),
    _count(
        "full_disk_errors",
        Count.FULL,
        "Changes that got ENOSPC: the cache disk was full of what isn't in the store.",
    ),
    _count("upload_failures", Count.UPLOAD_FAILED, "Uploads that failed; each is tried again."),
    _count(
        "conflicts", Count.CONFLICT, "Files kept in conflicts/ because another writer was first."
    ),
    _count(
        "ahead_used_bytes",
        Count.AHEAD_USED,
        "Bytes of small files fetched before they were opened, and of parts of files read at random"
        " fetched in the background (counted when a read comes near), that a program then needed.",
    ),
    MetricRow(
        "ahead_wasted_bytes",
        Kind.COUNTER,
        "The same that no program needed, until --content-ttl was over or the file was closed.",
        _wasted,
    ),
    # Memory.
    _gauge(
        "memory_limit_bytes",
        lambda m: m.settings.memory_limit,
        "What --memory-limit allows for read-ahead and requests; names have more beside it.",
    ),
)


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One gauge of the whole process, which has no label; None where it can't be known."""

    name: str
    help: str
    read: Callable[[], float | None]

    @property
    def exposed(self) -> str:
        """The name that queries use."""
        return PREFIX + self.name


def _of_cgroup(file: str) -> Callable[[], float | None]:
    def read() -> float | None:
        try:
            text = (Path("/sys/fs/cgroup") / file).read_text(encoding="ascii").strip()
        except OSError:
            return None  # cgroup v1, or the root group of a machine
        return float(text) if text.isdigit() else None  # "max": no limit

    return read


PROCESS_ROWS: tuple[ProcessRow, ...] = (
    ProcessRow(
        "container_memory_bytes",
        "Memory of the worker's container, page cache included, as its limit counts it.",
        _of_cgroup("memory.current"),
    ),
    ProcessRow(
        "container_memory_limit_bytes",
        "The limit of that memory; absent without one.",
        _of_cgroup("memory.max"),
    ),
)
