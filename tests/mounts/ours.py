"""The command line of our own file system, as a user types it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.mounts import switchedoff
from tests.mounts.log import complaints, parse
from tests.mounts.mount import Mount
from tests.servers.s3 import REGION, Endpoint

# The one list of the drivers that mount tests run on.
DRIVERS = ("native", "fusepy")


def drivers() -> tuple[str, ...]:
    """Return the drivers to test: all, or those named in S3MOUNT_TEST_DRIVERS.

    `s3fs` is one more name there: tests of plain POSIX behaviour can be tried on it.
    """
    if chosen := os.environ.get("S3MOUNT_TEST_DRIVERS"):
        return tuple(chosen.split(","))
    return DRIVERS if find_spec("fusefs.__main__") else ()


@dataclass(frozen=True)
class Directories:
    """Where a mount and its things lie; `cache` outlives the mount."""

    root: Path
    path: Path = field(init=False)
    cache: Path = field(init=False)
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        for name, leaf in (("path", "mnt"), ("cache", "cache"), ("output", "log")):
            object.__setattr__(self, name, self.root / leaf)
        self.root.mkdir(parents=True, exist_ok=True)


class OurMount(Mount):
    """A mount by `python -m fusefs mount`; `expected` are patterns of complaints that are fine.

    `launcher` comes before the command (nohup). What S3MOUNT_TEST_WITHOUT names is switched off.
    """

    def __init__(
        self,
        what: str,
        where: Directories,
        endpoint: Endpoint,
        driver: str,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        self.cache = where.cache
        # Whoever kills our process group ends the keeper too, in either order.
        self.expected: list[str] = ["the keeper went away"]
        command: list[str | Path] = [*launcher, sys.executable, "-m", "fusefs", "mount"]
        command += [what, where.path]
        command += ["--endpoint-url", endpoint.url, "--region", REGION]
        command += ["--cache-dir", where.cache, "--driver", driver]
        command += switchedoff.switched(options, switchedoff.named())
        super().__init__(command, where.path, where.output, environment(endpoint, where.root))

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until it is mounted and, natively, a worker has begun.

        A keeper mounts before the worker reaches the store; who counts requests must not start
        with those. INIT, which the kernel sends first, is answered once the keeper knows of it.
        """
        self.child.wait_until(self._has_begun, seconds)

    def _has_begun(self) -> bool:
        said = self.said_since_start()
        serving = '"event": "serving"' in said
        agreed = '"event": "FUSE 7' in said or '"resumed": true' in said
        return ("fusepy" in self.child.command or (serving and agreed)) and self.is_mounted()

    def complaints(self) -> list[str]:
        """Return warnings and errors in its log that nobody expects."""
        return complaints(parse(self.said()), self.expected)


def environment(endpoint: Endpoint, home: Path) -> dict[str, str]:
    """Return an environment with the credentials and nothing of the caller's own AWS settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3MOUNT_SPACE_AUDIT": "1",
        # Where locks taken against their order are reported; benchmarks have none.
        **{name: os.environ[name] for name in ["S3MOUNT_LOCK_ORDER"] if name in os.environ},
        **endpoint.credentials.environment(),
    }
