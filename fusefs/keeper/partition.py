"""The tmpfs between a pod's volume and its mounts.

All mounts of a pod are in a small tmpfs, which is itself mounted in the volume, at `.gate/mounts`.
Two things follow:

- A walk of the volume ends there, for it doesn't go on to another file system. The kubelet walks
  once a minute for its statistics, and would read the root of each bucket.
- Who removes the directory below the tmpfs, from a mount namespace that has neither it nor what is
  in it, detaches all of it in every namespace (rmdir(2) since Linux 3.18). It takes no privilege:
  so the worker ends mounts that a dead keeper left (`run.podworker`).

The worker's user may therefore write into `.gate`, so no name in there is trusted: no symbolic link
is followed, and what is mounted on is named by its descriptor.

Standard library only. No state, used from the keeper's one thread.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fusefs.kernel import mountcalls

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def place(path: str, name: str) -> Iterator[str]:
    """Yield a path that stands for the directory `name` in the tmpfs at `path`; both are made."""
    with _root(path) as root:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=root)
        with _opened(name, root) as directory:
            yield f"/proc/self/fd/{directory}"


def remove(path: str) -> None:
    """Unmount the tmpfs lazily, with whatever is mounted in it."""
    if mountcalls.is_mounted(path):
        mountcalls.unmount(path)


@contextmanager
def _root(path: str) -> Iterator[int]:
    """Yield a descriptor of the tmpfs, mounted unless it is there."""
    above, last = os.path.split(path)
    with suppress(FileExistsError):
        os.mkdir(above)  # noqa: PTH102 - one form for all of them
    with _opened(above) as gate:
        os.fchmod(gate, 0o777)  # only this pod has the volume
        with suppress(FileExistsError):
            os.mkdir(last, dir_fd=gate)
        with _opened(last, gate) as root:
            if os.fstat(root).st_dev == os.fstat(gate).st_dev:
                mountcalls.mount_tmpfs(f"/proc/self/fd/{root}")
        with _opened(last, gate) as root:
            yield root


@contextmanager
def _opened(path: str, at: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _DIRECTORY, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
