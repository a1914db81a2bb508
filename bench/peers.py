"""The file systems that are compared: ours, and those of the others that are on PATH.

Each is set up as its manual says for speed, with all the cache and attributes it can have, and with
the promise that close() waits for S3 where it has one (`late`: it has none).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.workloads import Workload
from tests.mounts.mount import Mount
from tests.mounts.ours import Directories, OurMount, environment
from tests.mounts.s3fs import S3fsMount
from tests.servers.child import descendants
from tests.servers.s3 import REGION, Endpoint

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
Start = Callable[[str, Directories, Endpoint], Mount]


@dataclass(frozen=True)
class Peer:
    """A file system; `late`: its close() returns before the object is in S3.

    What doesn't store attributes (`stores_attributes`), believes S3's answers for a minute
    (`believes`), or has the kernel read its cached files (`passthrough`), is compared where that
    makes a difference only.
    """

    name: str
    start: Start
    late: bool = False
    stores_attributes: bool = True
    believes: bool = False
    passthrough: bool = False

    def takes_part(self, workload: Workload) -> bool:
        """Say whether it is compared in a workload."""
        if self.believes:
            return workload.ages
        if self.passthrough:
            return workload.cached
        return workload.attributes or self.stores_attributes


def _ours(*more: str) -> Start:
    def start(bucket: str, where: Directories, endpoint: Endpoint) -> Mount:
        return OurMount(bucket, where, endpoint, "native", ["--cache-size", "4Gi", *more])

    return start


def _s3fs(bucket: str, where: Directories, endpoint: Endpoint) -> Mount:
    options = ["max_stat_cache_size=100000", f"use_cache={where.cache}", "parallel_count=16"]
    options += ["multireq_max=64", "multipart_size=16", "stat_cache_expire=900"]
    return S3fsMount(bucket, where, endpoint, options)


def _mounted(command: list[str | Path], where: Directories, endpoint: Endpoint) -> Mount:
    return Mount(command, where.path, where.output, environment(endpoint, where.root))


def _mount_s3(bucket: str, where: Directories, endpoint: Endpoint) -> Mount:
    where.cache.mkdir()
    options = ["--foreground", "--endpoint-url", endpoint.url, "--region", REGION]
    options += ["--force-path-style", "--allow-delete", "--allow-overwrite"]
    options += ["--cache", str(where.cache), "--metadata-ttl", "60"]
    return _mounted(["mount-s3", bucket, where.path, *options], where, endpoint)


def _geesefs(bucket: str, where: Directories, endpoint: Endpoint) -> Mount:
    where.cache.mkdir()
    options = ["-f", "--endpoint", endpoint.url, "--region", REGION, "--list-type", "2"]
    options += ["--cache", str(where.cache), "--fsync-on-close"]
    return _mounted(["geesefs", *options, bucket, where.path], where, endpoint)


def _rclone(bucket: str, where: Directories, endpoint: Endpoint) -> Mount:
    keys = endpoint.credentials
    remote = (
        f":s3,provider=Other,endpoint='{endpoint.url}',access_key_id={keys.access_key},"
        f"secret_access_key={keys.secret_key},force_path_style=true:{bucket}"
    )
    options = ["--vfs-cache-mode", "full", "--vfs-write-back", "0s", "--cache-dir"]
    options += [str(where.cache), "--transfers", "16", "--dir-cache-time", "60s"]
    return _mounted(["rclone", "mount", remote, where.path, *options], where, endpoint)


OURS = "ours"
PEERS = (
    Peer(OURS, _ours()),
    Peer("ours, no attributes", _ours("--metadata", "none"), stores_attributes=False),
    Peer("ours, content-ttl 60s", _ours("--content-ttl", "60s"), believes=True),
    Peer("ours, passthrough", _ours("--passthrough"), passthrough=True),
    Peer("mount-s3", _mount_s3),
    Peer("geesefs", _geesefs),
    Peer("s3fs", _s3fs),
    Peer("rclone", _rclone, late=True),
)


def found(names: list[str]) -> list[Peer]:
    """Return ourselves and those of the others that are on PATH; of `names` if there are any.

    Raises ValueError for a name that is none, or whose program isn't there.
    """
    known = [peer.name for peer in PEERS]
    here = [peer for peer in PEERS if peer.name.startswith(OURS) or shutil.which(peer.name)]
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(map(repr, known))}")
        if name not in [peer.name for peer in here]:
            raise ValueError(f"{name}: not on PATH")
    return [peer for peer in here if not names or peer.name in names]


@dataclass(frozen=True)
class Usage:
    """What a daemon and its children have used: seconds of one core, and the most memory."""

    cpu: float
    rss: float  # MiB, the sum of each process's peak

    @classmethod
    def of(cls, mount: Mount) -> Usage:
        """Look at a running mount."""
        cpu = rss = 0.0
        for pid in (mount.child.pid, *descendants(mount.child.pid)):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
            except FileNotFoundError:
                continue
            cpu += (int(fields[11]) + int(fields[12])) / TICKS
            rss += int(status.partition("VmHWM:")[2].split()[0]) / 1024
        return cls(cpu, rss)
