"""The worker's memory that each mount may use for requests and read-ahead.

The worker serves all mounts of a pod in one process and under one limit: above it the kernel kills
it, and the read-ahead of many mounts would exceed it. Measured with large files read and
written at once: 70 MiB for the process, and per mount 35 MiB beside its buffers. Names that a mount
remembers come on top: three eighths of its buffers, 48 MiB at most (`--memory-limit` says so;
seen: 1 000 000 names listed, 40 000 of them looked at). Pure functions.
"""

from collections.abc import Iterator

from webhook.parse.quantities import format_bytes
from webhook.parse.s3fsoptions import option_values
from webhook.problems import Problem
from webhook.spec.mountspec import Wanted

_MIB = 2**20
_PROCESS = 96 * _MIB
_MOUNT = 40 * _MIB
# A mount's default, and the least with which it still reads ahead, in bytes.
_MOST = 128 * _MIB
_LEAST = 16 * _MIB


def _names(buffers: int) -> int:
    return buffers * 3 // 8


def buffers(wanted: Wanted) -> int | None:
    """Return the bytes of buffers for each mount; None, the mount's default, without a limit."""
    limit = wanted.worker.memory_limit
    if limit is None or not wanted.mounts:
        return None
    share = (limit - _PROCESS) // len(wanted.mounts) - _MOUNT
    return max(_LEAST, min(_MOST, share * 8 // 11 // _MIB * _MIB))


def needed(wanted: Wanted) -> int:
    """Return the least memory limit, in bytes, for so many mounts."""
    return _PROCESS + len(wanted.mounts) * (_MOUNT + _LEAST + _names(_LEAST))


def part_problems(wanted: Wanted) -> Iterator[Problem]:
    """Return problems of part sizes that don't fit into a mount's buffers: it would not start."""
    room = buffers(wanted)
    if room is None:
        return
    for mount in wanted.mounts:
        values = option_values(mount.options)
        for name in ("multipart_size", "multipart_threshold"):
            if int(values.get(name, 0)) * _MIB > room:
                rule = f"{name}={values[name]} MB doesn't fit into the mount's buffers of "
                remedy = "Make it smaller, or raise s3.mount/memory-limit or use fewer mounts"
                where = mount.key("options")
                yield Problem(where, mount.options, rule + format_bytes(room), remedy)
