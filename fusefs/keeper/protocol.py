"""The protocol between keeper and worker, and the configuration that both read.

One JSON object per message over a SOCK_SEQPACKET unix socket, with at most one descriptor beside it
(SCM_RIGHTS). The worker asks, the keeper answers each message with one: `{"ok": true, …}` or
`{"error": ERRNO, "message": TEXT}`. The requests, by their "op":

    take       name                              -> state, backings, token, resumed; the descriptor
    offer      name, state, backings, token, fd  -> (after the keeper was restarted)
    remember   name, state                       -> (the result of INIT; any JSON object)
    register   name, tag, fd                     -> backing
    unregister name, backing                     ->
    renew      name                              -> as `take`, of a new mount
    status                                       -> mounts: name -> "mounted" or "orphaned"

Standard library only: the keeper imports this. Functions without state, usable from any thread.
"""

import array
import contextlib
import errno
import json
import os
import socket
import stat
import struct
from collections.abc import Mapping, Sequence

from fusefs.errors import SetupError

VERSION = 1
# The volume with the sockets, which keeper and worker of a pod share.
RUN_DIRECTORY = os.environ.get("S3MOUNT_RUN_DIRECTORY", "/run/s3mount")
SOCKET = RUN_DIRECTORY + "/keeper.sock"
CONFIG = "S3MOUNT_CONFIG"
LARGEST = 128 << 10  # bytes of a message; the kernel's default for a unix socket is 208 KiB
MOST_FDS = 4  # room for surplus descriptors, so that they are noticed and closed

Message = dict[str, object]


class ProtocolError(ValueError):
    """The peer sent something that isn't a message."""


def listen(path: str, worker_uid: int, backlog: int) -> socket.socket:
    """Bind the socket at `path`, for the worker's user alone."""
    directory, name = os.path.split(path)
    os.makedirs(directory or ".", exist_ok=True)  # noqa: PTH103 - pathlib is large
    descriptor = os.open(directory or ".", os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return listen_in(descriptor, name, worker_uid, backlog)
    finally:
        os.close(descriptor)


def listen_in(directory: int, name: str, worker_uid: int, backlog: int) -> socket.socket:
    """Bind a socket in an open directory, for the worker's user alone.

    The worker can write in that directory: no link that it places there is followed, and if it
    replaces the socket between two of our calls, EPERM is raised. The path of the bind is short
    whatever the directory's is: a socket's has 108 bytes (unix(7)).
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{name}")
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        entry = os.open(name, flags, dir_fd=directory)
        try:
            _give(entry, name, worker_uid)
        finally:
            os.close(entry)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _give(entry: int, name: str, worker_uid: int) -> None:
    """Give a socket that is open as a path to the worker's user, and to nobody else."""
    status = os.fstat(entry)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "somebody replaced the socket", name)
    path = f"/proc/self/fd/{entry}"
    os.chmod(path, 0o600)  # noqa: PTH101 - pathlib is large
    os.chown(path, worker_uid, -1)


def send(peer: socket.socket, message: Message, descriptor: int = -1) -> None:
    """Send one message, with a descriptor where one is given."""
    ancillary = []
    if descriptor >= 0:
        rights = array.array("i", [descriptor])
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights))
    peer.sendmsg([json.dumps(message).encode()], ancillary)


def receive(peer: socket.socket) -> tuple[Message, int]:
    """Return the next message and its descriptor, -1 for none; EOFError when the peer is gone.

    Raises `ProtocolError` for anything else than one JSON object and one descriptor; no descriptor
    that came with it stays open.
    """
    room = socket.CMSG_SPACE(MOST_FDS * 4)
    data, ancillary, flags, _ = peer.recvmsg(LARGEST, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = _descriptors(ancillary)
    try:
        if not data and not descriptors:
            raise EOFError("the peer hung up")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(descriptors) > 1:
            raise ProtocolError("a message too long, or with descriptors that don't fit")
        return _object(data), descriptors.pop() if descriptors else -1
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _object(data: bytes) -> Message:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def peer_uid(peer: socket.socket) -> int:
    """Return the uid of the peer's process, from the kernel (SO_PEERCRED)."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1]) & 0xFFFFFFFF


def text(message: Mapping[str, object], key: str) -> str:
    """Return a field that has to be a string of moderate length."""
    value = message.get(key)
    if not isinstance(value, str) or len(value) > 4096:
        raise ProtocolError(f"{key!r} is missing or not a text")
    return value


def mapping(message: Mapping[str, object], key: str) -> dict[str, object]:
    """Return a field that has to be an object."""
    value = message.get(key)
    if not isinstance(value, dict):
        raise ProtocolError(f"{key!r} is missing or not an object")
    return value


def read_document(environment: Mapping[str, str], file: str | None) -> str:
    """Return the text of the configuration: of a file, else of S3MOUNT_CONFIG."""
    if file is None:
        if CONFIG not in environment:
            raise SetupError(f"no configuration: set {CONFIG} or give --config FILE")
        return environment[CONFIG]
    try:
        with open(file, encoding="utf-8") as document:  # noqa: PTH123 - pathlib costs 1.5 MiB
            return document.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)
        raise SetupError(f"configuration {file} can't be read: {reason}") from error


def parse_document(document: str) -> list[Message]:
    """Return the mounts of `{"version": 1, "mounts": [{"name", "mountpoint", "readOnly", …}]}`.

    Checked here: the keys that both processes need. The worker checks the others.
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"the configuration is not JSON: {error}") from error
    mounts = parsed.get("mounts") if isinstance(parsed, dict) else None
    if not isinstance(mounts, list) or not mounts or parsed.get("version") != VERSION:
        raise SetupError('the configuration is not {"version": 1, "mounts": [{…}, …]}')
    for mount in mounts:
        _check_mount(mount)
    for key in ("name", "mountpoint"):
        if len({mount[key] for mount in mounts}) != len(mounts):
            raise SetupError(f"two mounts of the configuration have the same {key}")
    return mounts


def _check_mount(mount: object) -> None:
    if not isinstance(mount, dict):
        raise SetupError(f"a mount of the configuration is not an object: {mount!r}")
    name, path = mount.get("name"), mount.get("mountpoint")
    if not isinstance(name, str) or not name or len(name) > 253:
        raise SetupError(f"the name of a mount is not a text of 1 to 253 characters: {name!r}")
    if not isinstance(mount.get("partition", ""), str):
        raise SetupError(f"mount {name}: partition is not a path")
    if not isinstance(path, str) or os.path.normpath(path) != path or not path.startswith("/"):
        raise SetupError(f"mount {name}: mountpoint {path!r} is not an absolute path")
    if path == "/" or "\0" in path:
        raise SetupError(f"mount {name}: mountpoint {path!r} can't be mounted on")
    if not isinstance(mount.get("readOnly", False), bool):
        raise SetupError(f"mount {name}: readOnly is neither true nor false")
