"""POSIX attributes in object metadata, exactly as s3fs stores them.

Formats (s3fs-fuse 1.90, read off objects it wrote): `mode` is decimal with the type bits, `uid`
and `gid` decimal, `mtime`, `atime`, `ctime` decimal seconds with an optional fraction of nine
digits, `xattr` URL-quoted JSON of name to base64. Also read, as s3fs does: s3sync's `permissions`,
`owner`, `group`; `file-permissions` (octal), `file-owner`, `file-group`; rclone's octal `mode`.

Pure functions over values. Attributes that can't be parsed count as absent.
"""

import base64
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from fusefs.objects import Headers, ObjectInfo

NS = 1_000_000_000
KEYS = ("mode", "uid", "gid", "atime", "mtime", "ctime", "xattr")
DIRECTORY_TYPE = "application/x-directory"
# `_DecimalMode`: the largest decimal mode has all 16 bits; what is larger was written in octal.
LARGEST_MODE = 0o177777
# The most digits of a valid number: int() is slow, and refuses 4 300 digits.
DIGITS = re.compile("[0-9]{1,20}")
TIME = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]*))?")


@dataclass(frozen=True, slots=True)
class Defaults:
    """Owner and mode (permission bits) of objects without stored attributes."""

    uid: int = 0
    gid: int = 0
    file_mode: int = 0o644
    dir_mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Shown:
    """Owner and mode that override stored ones: s3fs's `uid`, `gid`, `umask`, `mp_umask`.

    With a mask the mode is 0777 without its bits; `root_umask` is for the mount's root only.
    """

    uid: int | None = None
    gid: int | None = None
    umask: int | None = None
    root_umask: int | None = None

    def of(self, posix: "Posix", root: bool) -> tuple[int, int, int]:
        """Return mode, uid and gid to be shown."""
        mask = self.root_umask if root and self.umask is None else self.umask
        return (
            posix.mode if mask is None else posix.kind | 0o777 & ~mask,
            posix.uid if self.uid is None else self.uid,
            posix.gid if self.gid is None else self.gid,
        )


@dataclass(frozen=True, slots=True)
class Posix:
    """The attributes of one file; `mode` with type bits, times in ns since the epoch."""

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def touched(self, now: int) -> "Posix":
        """Return the attributes after a change of the content at `now`; called for each write."""
        return Posix(self.mode, self.uid, self.gid, self.atime_ns, now, now, self.xattrs)

    @property
    def kind(self) -> int:
        """The type bits only."""
        return stat.S_IFMT(self.mode)


LINK_MOST = 4096  # bytes: a link's target is its object's content, and PATH_MAX its limit


def plain(info: ObjectInfo | None, defaults: Defaults, directory: bool) -> Posix:
    """Return the attributes of an object without stored ones, or of an implicit directory."""
    mode = stat.S_IFDIR | defaults.dir_mode if directory else stat.S_IFREG | defaults.file_mode
    at = int(info.modified * NS) if info is not None else 0
    return Posix(mode, defaults.uid, defaults.gid, at, at, at)


def read(info: ObjectInfo, defaults: Defaults, directory: bool) -> Posix:
    """Return an object's stored attributes, defaults for missing ones."""
    base = plain(info, defaults, directory)
    if info.headers is None:
        return base
    meta = info.headers.metadata
    mode = _mode(meta, base.mode, directory)
    if info.size > LINK_MOST and not directory:
        mode = stat.S_IFREG | stat.S_IMODE(mode)
    mtime = _time(meta.get("mtime"), base.mtime_ns)
    return Posix(
        mode,
        _number(meta, ("uid", "owner", "file-owner"), base.uid),
        _number(meta, ("gid", "group", "file-group"), base.gid),
        _time(meta.get("atime"), mtime),
        mtime,
        _time(meta.get("ctime"), mtime),
        _xattrs(meta.get("xattr")),
    )


def write(posix: Posix, headers: Headers) -> Headers:
    """Return `headers` with the attributes; foreign metadata is kept."""
    metadata = dict(headers.metadata)
    for name in KEYS:
        metadata.pop(name, None)
    metadata |= {
        "mode": str(posix.mode),
        "uid": str(posix.uid),
        "gid": str(posix.gid),
        "atime": seconds(posix.atime_ns),
        "mtime": (changed := seconds(posix.mtime_ns)),
        "ctime": changed if posix.ctime_ns == posix.mtime_ns else seconds(posix.ctime_ns),
    }
    if posix.xattrs:
        packed = {name: base64.b64encode(value).decode() for name, value in posix.xattrs.items()}
        metadata["xattr"] = quote(json.dumps(packed, separators=(",", ":")), safe="")
    return Headers(metadata, headers.system)


def seconds(ns: int) -> str:
    """Return a time in its stored form."""
    seconds, fraction = divmod(ns, NS)
    return f"{seconds}.{fraction:09d}" if fraction else str(seconds)


def _time(text: str | None, otherwise: int) -> int:
    if not text:
        return otherwise
    match = TIME.fullmatch(text.strip())
    if match is None:
        return otherwise
    return int(match[1]) * NS + int(((match[2] or "") + "0" * 9)[:9])


def _number(meta: Mapping[str, str], names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        text = meta.get(name, "").strip()
        if DIGITS.fullmatch(text) and int(text) < 1 << 32:
            return int(text)
    return otherwise


def _mode(meta: Mapping[str, str], otherwise: int, directory: bool) -> int:
    for name, base in (("mode", 10), ("permissions", 10), ("file-permissions", 8)):
        text = meta.get(name, "").strip()
        if not DIGITS.fullmatch(text):
            continue
        try:
            mode = int(text, base)
            if mode > LARGEST_MODE:
                mode = int(text, 8)
        except ValueError:
            continue
        if mode <= LARGEST_MODE:
            return _typed(mode, otherwise, directory)
    return otherwise


def _typed(mode: int, otherwise: int, directory: bool) -> int:
    """Return a mode with its type bits: a marker is always a directory, other objects never."""
    kind = stat.S_IFMT(mode)
    if directory or kind in (0, stat.S_IFDIR):
        kind = stat.S_IFMT(otherwise)
    return kind | stat.S_IMODE(mode)


def _xattrs(text: str | None) -> Mapping[str, bytes]:
    if not text:
        return {}
    try:
        packed = json.loads(unquote(text))
        return {str(name): base64.b64decode(value) for name, value in packed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
