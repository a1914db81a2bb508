"""How much of the worker's memory each mount may fill with requests and what it reads ahead.

The worker serves all mounts of a pod in one process and under one limit: above it the kernel kills
it, and what was read ahead for many mounts would take it there. Measured with large files read and
written at once: 70 MiB for the process, and per mount 35 MiB beside its buffers. What a mount knows
of names comes on top: three eighths of its buffers, 48 MiB at most (`--memory-limit` says so; seen:
1 000 000 names listed, looked at and removed). Pure functions.
"""

from collections.abc import Iterator

from webhook.parse.quantities import format_bytes
from webhook.parse.s3fsoptions import option_values
from webhook.problems import Problem
from webhook.spec.mountspec import Wanted

_MIB = 2**20
_PROCESS = 96 * _MIB
_MOUNT = 40 * _MIB
# What the mount takes unless told otherwise, and the least with which it still reads ahead.
_MOST = 128 * _MIB
_LEAST = 16 * _MIB


def _names(buffers: int) -> int:
    return buffers * 3 // 8


def buffers(wanted: Wanted) -> int | None:
    """Bytes of read buffers for each mount; None, for the mount's default, without a limit."""
    limit = wanted.worker.memory_limit
    if limit is None or not wanted.mounts:
        return None
    share = (limit - _PROCESS) // len(wanted.mounts) - _MOUNT
    return max(_LEAST, min(_MOST, share * 8 // 11 // _MIB * _MIB))


def needed(wanted: Wanted) -> int:
    """The least memory limit with which the worker can serve so many mounts."""
    return _PROCESS + len(wanted.mounts) * (_MOUNT + _LEAST + _names(_LEAST))


def part_problems(wanted: Wanted) -> Iterator[Problem]:
    """Parts of uploads that don't fit into a mount's buffers, with which it would not start."""
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
