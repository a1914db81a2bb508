"""The volume of a pod in which its worker finds the plugin's socket, reached from the node.

The pod's worker can write in that volume, and whoever made the pod named its volumes: no link is
followed on the way there, and nothing outside the pods' directory is reached (openat2(2),
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; Linux 5.6).

No state but the directory's descriptor; usable from any thread.
"""

import ctypes
import errno
import os
import struct
import time

VOLUME = "s3-mount-socket"  # of the pod, as the webhook names it
SOCKET = "keeper.sock"
WAIT_SECONDS = 15.0  # the kubelet makes a pod's volumes at the same time, in no order
LOOK_SECONDS = 0.05
OPENAT2 = 437  # include/uapi/asm-generic/unistd.h: the same on all architectures
RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x04, 0x08  # linux/openat2.h

_libc = ctypes.CDLL(None, use_errno=True)


class SocketVolumes:
    """The socket volumes of the pods below the kubelet's `pods` directory."""

    def __init__(self, pods: str) -> None:
        """OSError when there is no such directory."""
        self._pods = os.open(pods, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, pod: str, wait: float = WAIT_SECONDS) -> int:
        """Return a descriptor of a pod's volume; FileNotFoundError if it isn't there in `wait` s.

        `pod` is its uid.
        """
        path = f"{pod}/volumes/kubernetes.io~empty-dir/{VOLUME}"
        deadline = time.monotonic() + wait
        while True:
            try:
                return open_beneath(self._pods, path)
            except FileNotFoundError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_SECONDS)


def open_beneath(directory: int, path: str) -> int:
    """Open a directory below another one without following any link; OSError names the path."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    how = struct.pack("=QQQ", flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    name = ctypes.c_char_p(os.fsencode(path))
    while True:
        found: int = _libc.syscall(
            ctypes.c_long(OPENAT2), ctypes.c_int(directory), name, how, ctypes.c_size_t(len(how))
        )
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number not in (errno.EINTR, errno.EAGAIN):  # EAGAIN: a rename raced with the walk
            raise OSError(number, os.strerror(number), path)
