"""What an application does, as the requests that the kernel makes of it.

A story asks, checks what it is answered, and is the same whether or not somebody died meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fusefs.errors import Exists
from fusefs.interface import ROOT, Caller, Change

Ask = Callable[..., Any]

ME = Caller(1000, 1000)
NOREPLACE = 1
LARGE = 6 << 20


@dataclass(frozen=True)
class Story:
    """`tell` asks; `given` is the bucket before, `left` after."""

    tell: Callable[[Ask], None]
    left: Mapping[str, bytes]
    given: Mapping[str, bytes] = field(default_factory=dict)


def append(ask: Ask) -> None:
    """A log: lines that are each brought to S3, through one descriptor."""
    node = ask("lookup", ROOT, "log").node
    log = ask("open", node, os.O_WRONLY | os.O_APPEND).handle
    for number in range(3):
        ask("write", log, 2 + 2 * number, b"%d\n" % number)
        ask("fsync", log)
    assert ask("getattr", node, log).size == 8
    ask("flush", log)
    ask("release", log)


def create(ask: Ask) -> None:
    """A new file, read by another process before it is closed."""
    made, opened = ask("create", ROOT, "new", 0o644, os.O_WRONLY | os.O_TRUNC, ME)
    ask("write", opened.handle, 0, b"hello")
    reader = ask("open", made.node, os.O_RDONLY).handle
    assert ask("read", reader, 0, 100) == b"hello"
    ask("release", reader)
    ask("setattr", made.node, Change(mode=0o600), opened.handle)
    ask("flush", opened.handle)
    ask("release", opened.handle)
    assert ask("getattr", made.node).mode & 0o777 == 0o600


def replace(ask: Ask) -> None:
    """A file truncated and written anew."""
    node = ask("lookup", ROOT, "f").node
    handle = ask("open", node, os.O_WRONLY | os.O_TRUNC).handle
    ask("write", handle, 0, b"other")
    ask("flush", handle)
    ask("release", handle)


def lock(ask: Ask) -> None:
    """Exclusive files and directories: ours is ours, whoever answers."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    opened = ask("create", ROOT, "lock", 0o644, flags, ME)[1]
    ask("flush", opened.handle)
    ask("release", opened.handle)
    ask("mkdir", ROOT, "locked", 0o755, ME)
    ask("mknod", ROOT, "node", 0o100644, 0, ME)
    ask("symlink", ROOT, "link", "target", ME)


def taken(ask: Ask) -> None:
    """What is there already isn't ours, however often we are asked."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    ask("lookup", ROOT, "mine")
    for request in (
        ("create", ROOT, "lock", 0o644, flags, ME),
        ("mknod", ROOT, "lock", 0o100644, 0, ME),
        ("mkdir", ROOT, "locked", 0o755, ME),
        ("symlink", ROOT, "lock", "target", ME),
        ("rename", ROOT, "mine", ROOT, "lock", NOREPLACE),
    ):
        try:
            ask(*request)
        except Exists:
            continue
        raise AssertionError(f"{request} was carried out")


def rotate(ask: Ask) -> None:
    """A file renamed under a writer and a reader, who go on."""
    node = ask("lookup", ROOT, "log").node
    writer = ask("open", node, os.O_WRONLY).handle
    reader = ask("open", node, os.O_RDONLY).handle
    ask("write", writer, 3, b" two")
    ask("rename", ROOT, "log", ROOT, "log.1", NOREPLACE)
    assert ask("read", reader, 0, 100) == b"one two"
    ask("write", writer, 7, b" three")
    ask("flush", writer)
    assert ask("read", reader, 0, 100) == b"one two three"
    ask("release", writer)
    ask("release", reader)
    assert ask("lookup", ROOT, "log.1").node == node


def supersede(ask: Ask) -> None:
    """A new version by way of a rename; who has the old one open keeps it."""
    old = ask("lookup", ROOT, "f").node
    reader = ask("open", old, os.O_RDONLY).handle
    opened = ask("create", ROOT, "f.new", 0o644, os.O_WRONLY, ME)[1]
    ask("write", opened.handle, 0, b"new")
    ask("flush", opened.handle)
    ask("release", opened.handle)
    ask("lookup", ROOT, "f.new")
    ask("rename", ROOT, "f.new", ROOT, "f", 0)
    assert ask("read", reader, 0, 100) == b"old"
    ask("release", reader)


def move(ask: Ask) -> None:
    """A directory renamed above files that are open."""
    directory = ask("lookup", ROOT, "d").node
    node = ask("lookup", directory, "f").node
    large = ask("lookup", directory, "large").node
    readers = [ask("open", each, os.O_RDONLY).handle for each in (node, large)]
    writer = ask("open", node, os.O_WRONLY | os.O_APPEND).handle
    ask("write", writer, 3, b" more")
    ask("rename", ROOT, "d", ROOT, "e", 0)
    assert ask("lookup", ROOT, "e").node == directory
    assert ask("read", readers[0], 0, 100) == b"one more"
    assert ask("read", readers[1], LARGE - 3, 100) == b"\0\0\0"
    ask("write", writer, 8, b" again")
    ask("flush", writer)
    for handle in (writer, *readers):
        ask("release", handle)


def remove(ask: Ask) -> None:
    """Files and directories removed; a reader goes on with what it has."""
    directory = ask("lookup", ROOT, "d").node
    node = ask("lookup", directory, "f").node
    reader = ask("open", node, os.O_RDONLY).handle
    ask("unlink", directory, "f")
    assert ask("read", reader, 0, 100) == b"one"
    ask("release", reader)
    ask("lookup", directory, "g")
    ask("unlink", directory, "g")
    ask("rmdir", ROOT, "d")


def change(ask: Ask) -> None:
    """Attributes and sizes of a file that is open, large enough to have been sent in parts."""
    node = ask("lookup", ROOT, "large").node
    reader = ask("open", node, os.O_RDONLY).handle
    ask("setattr", node, Change(mode=0o600))
    assert ask("read", reader, 0, 3) == b"\0\0\0"
    ask("setxattr", node, "user.a", b"1", 1)
    ask("removexattr", node, "user.a")
    ask("setattr", node, Change(size=5))
    assert ask("read", reader, 0, 100) == bytes(5)
    ask("release", reader)
    assert ask("getattr", node).mode & 0o777 == 0o600


def listing(ask: Ask) -> None:
    """A directory read in small pieces: each name once."""
    stream = ask("opendir", ROOT).handle
    names, at = [], 0
    while entries := ask("readdir", stream, at, 7):
        taken = entries[: max(1, len(entries) - 2)]  # what fits into the kernel's buffer
        names += [entry.name for entry in taken]
        at = taken[-1].offset
    ask("releasedir", stream)
    assert sorted(names) == [".", "..", *(f"{number:02}" for number in range(30))]


ALL = {
    "append": Story(append, {"log": b"x\n0\n1\n2\n"}, {"log": b"x\n"}),
    "create": Story(create, {"new": b"hello"}),
    "replace": Story(replace, {"f": b"other"}, {"f": b"some content"}),
    "lock": Story(lock, {"lock": b"", "locked/": b"", "node": b"", "link": b"target"}),
    "taken": Story(
        taken,
        {"lock": b"", "locked/": b"", "mine": b"x"},
        {"lock": b"", "locked/": b"", "mine": b"x"},
    ),
    "rotate": Story(rotate, {"log.1": b"one two three"}, {"log": b"one"}),
    "supersede": Story(supersede, {"f": b"new"}, {"f": b"old"}),
    "move": Story(
        move,
        {"e/": b"", "e/f": b"one more again", "e/large": bytes(LARGE)},
        {"d/": b"", "d/f": b"one", "d/large": bytes(LARGE)},
    ),
    "remove": Story(remove, {}, {"d/": b"", "d/f": b"one", "d/g": b"two"}),
    "change": Story(change, {"large": bytes(5)}, {"large": bytes(LARGE)}),
    "listing": Story(
        listing,
        {f"{number:02}": b"" for number in range(30)},
        {f"{number:02}": b"" for number in range(30)},
    ),
}
