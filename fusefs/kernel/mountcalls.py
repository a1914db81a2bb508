"""The system calls around a FUSE mount: open the device, mount(2), umount2(2), the mount table.

Standard library only, and little of it: the keeper imports this. No path under a mount is accessed
here: that would wait for a server which may be dead.

No state, usable from any thread.
"""

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

DEVICE = "/dev/fuse"
SOURCE = "s3mount"
TYPE = "fuse.s3mount"
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8  # linux/mount.h
MNT_FORCE, MNT_DETACH, UMOUNT_NOFOLLOW = 1, 2, 8
BACKING_OPEN, BACKING_CLOSE = 0x4010E501, 0x4004E502  # _IOW(229, 1, 16 bytes), _IOW(229, 2, u32)
CAP_SYS_ADMIN = 21  # linux/capability.h
BACKING_MAP_SIZE = 16  # struct fuse_backing_map: fd, flags, padding
# 1 MiB requests need a read-ahead as large; the kernel's default is 128 KiB.
# A pipe has 1 MiB in pages, one of them is the header's (see `splicing`).
READ_MOST = (1 << 20) - os.sysconf("SC_PAGE_SIZE")
READ_AHEAD_KIB = READ_MOST >> 10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def open_device() -> int:
    """Open a new connection to the kernel."""
    return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)


def may_mount() -> bool:
    """Return whether mount(2) is allowed to this process (CAP_SYS_ADMIN is effective)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)
    return False


def mount(
    device: int,
    mountpoint: str,
    *,
    read_only: bool,
    allow_other: bool,
    source: str = SOURCE,
    max_read: int = READ_MOST,
    at: str | None = None,
) -> None:
    """Mount the connection `device` at a directory; OSError names the path.

    `source` is what the mount table shows in the place of a device, and `df` with it.
    `at`: another path of that directory, which is not resolved here.
    """
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={max_read}"
    options += ",default_permissions"
    if allow_other:
        options += ",allow_other"
    flags = MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
    target = os.path.realpath(mountpoint)  # resolved before: afterwards it would ask the server
    where = os.fsencode(source), os.fsencode(at or target)
    result = _libc.mount(*where, TYPE.encode(), flags, options.encode())
    _check(result, mountpoint)
    _raise_read_ahead(target)


def mount_tmpfs(directory: str) -> None:
    """Mount a tmpfs that holds some directories and no data; OSError names the path."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    target, options = os.fsencode(directory), b"mode=0755,size=64k"
    _check(_libc.mount(SOURCE.encode(), target, b"tmpfs", flags, options), directory)


def unmount(mountpoint: str, *, abort: bool = False) -> None:
    """Unmount lazily (MNT_DETACH), in use or not; `abort` fails requests in flight.

    A plain umount would wait for a server that may be dead.
    """
    flags = MNT_DETACH | UMOUNT_NOFOLLOW
    if abort:
        # MNT_FORCE aborts the connection, but then doesn't detach a mount that is in use.
        _libc.umount2(os.fsencode(mountpoint), MNT_FORCE | UMOUNT_NOFOLLOW)
        if mountpoint not in {path for path, _ in fuse_mounts()}:
            return
    _check(_libc.umount2(os.fsencode(mountpoint), flags), mountpoint)


def fuse_mounts() -> list[tuple[str, str]]:
    """Return our mounts in this mount namespace, oldest first: (path, "major:minor")."""
    return [(path, number) for path, number, *_ in fuse_mounts_with_details()]


def fuse_mounts_with_details() -> list[tuple[str, str, bool, str]]:
    """Return the same, each with whether it is mounted read-only and its given source.

    The last is "" where `mount` was given nothing but `SOURCE`.
    """
    return [
        (path, number, "ro" in options.split(","), source.partition(":")[2])
        for path, number, options, kind, source in _mounts()
        if kind == TYPE
    ]


def is_mounted(directory: str) -> bool:
    """Return whether anything is mounted at a directory, given by its real path."""
    return any(path == directory for path, *_ in _mounts())


def _mounts() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield path, "major:minor", options, type and source of each mount here, oldest first."""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        kind, source = after.split(b" ", 2)[:2]
        path = os.fsdecode(_unescaped(fields[4]))
        options = fields[5].decode()
        yield path, fields[2].decode(), options, kind.decode(), os.fsdecode(_unescaped(source))


def unmount_stale(directory: str, *, abort: bool = True) -> list[str]:
    """Unmount our mounts at or under a directory, the last first; return the paths."""
    root = directory.rstrip("/")
    stale = [path for path, _ in fuse_mounts() if path == root or path.startswith(root + "/")]
    stale.reverse()
    for path in stale:
        unmount(path, abort=abort)
    return stale


def register_backing(device: int, descriptor: int) -> int:
    """Let the kernel serve reads from a file; return its backing id (needs CAP_SYS_ADMIN).

    `fcntl.ioctl` returns the id only with a mutable buffer: with bytes it returns the bytes.
    """
    backing_map = bytearray(BACKING_MAP_SIZE)
    backing_map[:4] = descriptor.to_bytes(4, sys.byteorder, signed=True)
    return int(fcntl.ioctl(device, BACKING_OPEN, backing_map))


def unregister_backing(device: int, backing: int) -> None:
    """Release a backing id; open files are not affected."""
    fcntl.ioctl(device, BACKING_CLOSE, backing.to_bytes(4, sys.byteorder))


def _raise_read_ahead(mountpoint: str) -> None:
    """Set the kernel's read-ahead to the largest request; where it can't, reads are slower.

    The device number comes from the mount table: stat(2) would ask a server that isn't there yet.
    """
    numbers = [number for path, number in fuse_mounts() if path == mountpoint]
    if not numbers:
        return
    try:
        Path(f"/sys/class/bdi/{numbers[-1]}/read_ahead_kb").write_text(f"{READ_AHEAD_KIB}\n")
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
            raise


def _unescaped(path: bytes) -> bytes:
    """Undo the octal escapes of mountinfo (space, tab, newline, backslash)."""
    for code in (b"040", b"011", b"012", b"134"):
        path = path.replace(b"\\" + code, bytes([int(code, 8)]))
    return path
