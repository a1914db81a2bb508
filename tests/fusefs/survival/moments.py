"""Kill a filesystem at any line of its code, and let the next one go on: crash points, all of them.

    python -m tests.fusefs.survival.moments

A forking server: it reads jobs as JSON lines and answers each with one line. A job plays a story
(see `stories`) in a child, on a mount's filesystem without a kernel. With a `moment` other than 0
the child is killed -9 right after so many of its system calls that leave a trace. Played again, the
story goes on in another child as the kernel would have it: what was answered is not asked again,
what was begun is sent again, marked. Calls and answers are in the file `told` of the cache.
"""

from __future__ import annotations

import json
import os
import pickle
import posix
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import fusefs
from fusefs import resend
from fusefs.errors import FsError
from fusefs.interface import Silent
from fusefs.mount.mount import Mounted
from fusefs.mount.settings import MountSettings
from fusefs.s3.store import Store, StoreSettings
from fusefs.session.startmode import StartMode
from tests.fusefs.survival import stories
from tests.mounts import switchedoff
from tests.servers.s3 import REGION

HERE = str(Path(fusefs.__file__).parent)
# What leaves a trace outside of the process, on the disk or in the store.
OF_FILES = frozenset({"write", "pwrite", "ftruncate", "unlink", "rename", "open"})
OF_SOCKETS = frozenset({"send", "sendall", "recv_into"})


class Killer:
    """Counts the system calls that leave traces, and kills this process right after one of them.

    In all threads; `moment` is which, 0 for none.
    """

    def __init__(self, moment: int) -> None:
        self._left = moment
        self._lock = threading.Lock()
        self.counted = 0
        self.armed = False

    def __call__(self, frame: FrameType, event: str, called: object) -> None:
        if event != "c_return" or not self.armed or not leaves_trace(called):
            return
        with self._lock:
            self.counted += 1
            if self.counted == self._left:
                os.write(2, f"killed after {called.__name__} in {ours(frame)}\n".encode())  # type: ignore[attr-defined]  # builtins have a name
                os.kill(os.getpid(), signal.SIGKILL)


def leaves_trace(called: object) -> bool:
    """Say whether this is a system call that changes a file or talks to the store."""
    name, of = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    return (of is posix and name in OF_FILES) or (
        isinstance(of, socket.socket) and name in OF_SOCKETS
    )


def ours(frame: FrameType | None) -> str:
    """Return where in our code a frame was called from."""
    while frame is not None and not frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    if frame is None:
        return "another thread"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"


class Kernel:
    """Asks a filesystem as the kernel does, over the deaths of those who answer.

    `told` has a line for each call that was begun, and one for each answer.
    """

    def __init__(self, mounted: Mounted, told: Path, killer: Killer) -> None:
        self._calls = mounted.filesystem
        self._killer = killer
        self._number = 0
        self._begun: set[int] = set()
        self._answers: dict[int, Any] = {}
        for line in told.read_bytes().splitlines() if told.exists() else ():
            number, _, answer = line.partition(b" ")
            self._begun.add(int(number))
            if answer:
                self._answers[int(number)] = pickle.loads(bytes.fromhex(answer.decode()))  # noqa: S301 - our own file
        self._told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Make a call, or return what it was answered before; raises the error it ended in."""
        self._number += 2
        if self._number not in self._answers:
            self._answers[self._number] = self._asked(name, arguments)
        answer = self._answers[self._number]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _asked(self, name: str, arguments: tuple[Any, ...]) -> Any:
        again = self._number in self._begun
        os.write(self._told, b"%d\n" % self._number)
        call = self._read if name == "read" else getattr(self._calls, name)
        resend.asked(self._number, again=again)
        self._killer.armed = True
        try:
            answer = call(*arguments)
        except FsError as error:
            answer = error
        finally:
            self._killer.armed = False
        os.write(self._told, b"%d %s\n" % (self._number, pickle.dumps(answer).hex().encode()))
        return answer

    def _read(self, handle: int, offset: int, size: int) -> bytes:
        view = memoryview(bytearray(size))
        return bytes(view[: self._calls.read_into(handle, offset, view)])


def play(job: dict[str, Any]) -> None:
    """Run a job in this process, to its end or ours."""
    cache = Path(job["cache"])
    told = cache / "told"
    where = StoreSettings(job["bucket"], job["endpoint"], REGION, credentials_dir=Path(job["keys"]))
    off = switchedoff.without(switchedoff.named())
    settings = MountSettings(where, Path("/none"), cache_dir=cache, without=off)
    session = StartMode.RESUMED if told.exists() else StartMode.FIRST
    killer = Killer(job["moment"])
    threading.setprofile(killer)
    sys.setprofile(killer)
    mounted = Mounted(settings, Store(where), cache, session, Silent())
    stories.ALL[job["story"]].tell(Kernel(mounted, told, killer).ask)
    left = mounted.open_handles(), mounted.dirty()
    assert left == ({}, (0, 0)), f"left behind: {left}"
    print(json.dumps({"moments": killer.counted}), flush=True)


def serve(once: Callable[[dict[str, Any]], None]) -> None:
    """Answer each job of stdin with one line, from a child of its own."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                once(json.loads(line))
            except BaseException:  # noqa: BLE001 - whatever it is, it is the answer
                print(json.dumps({"failed": traceback.format_exc()}), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"killed": status}), flush=True)


if __name__ == "__main__":
    serve(play)
