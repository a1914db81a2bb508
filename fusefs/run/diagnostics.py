"""SIGUSR1 and SIGUSR2: a worker that says more about itself, without a restart.

SIGUSR1 has it log everything for ten minutes. SIGUSR2 has it log once what its mounts hold, its
memory, and where its threads are. The process above the worker passes both on (`restart`).

Threading: handlers run in the main thread, wherever that is, and only put a number into a queue; a
thread of its own does the work.
"""

import logging
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fusefs.bulkhead import bulkhead

log = logging.getLogger(__name__)

DEBUG_SECONDS = 600.0
Lines = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]


class Diagnostics:
    """Answers both signals; `lines` gives what is logged of the mounts."""

    def __init__(self, lines: Lines, debug_seconds: float = DEBUG_SECONDS) -> None:
        self._lines = lines
        self._debug_seconds = debug_seconds
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._until = 0.0
        self._usual = logging.getLogger().level

    def start(self) -> None:
        """Begin to answer. Main thread."""
        threading.Thread(target=self._run, name="diagnostics", daemon=True).start()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda came, _: self._came.put(came))

    def _run(self) -> None:
        while True:
            left = self._until - time.monotonic() if self._until else None
            try:
                number = self._came.get(timeout=max(0.0, left) if left is not None else None)
            except queue.Empty:
                self._until = 0.0
                logging.getLogger().setLevel(self._usual)
                log.info("the log is as before again")
                continue
            with bulkhead("a diagnosis"):
                self._debug() if number == signal.SIGUSR1 else self._report()

    def _debug(self) -> None:
        self._until = time.monotonic() + self._debug_seconds
        logging.getLogger().setLevel(logging.DEBUG)
        log.info("everything is logged now", extra={"seconds": self._debug_seconds})

    def _report(self) -> None:
        for what, fields in (*self._lines(), *_process()):
            log.info("diagnosis: %s", what, extra=dict(fields))


def _process() -> Iterator[tuple[str, Mapping[str, Any]]]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield (
        "the process",
        {
            "most_memory_kib": usage.ru_maxrss,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "threads": threading.active_count(),
        },
    )
    yield "threads", {"at": dict(_threads())}


def _threads() -> Iterator[tuple[str, str]]:
    """Yield where each thread is: file, line and function, innermost."""
    frames = sys._current_frames()  # noqa: SLF001 - the documented way to see them
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            code = frame.f_code
            yield thread.name, f"{code.co_filename}:{frame.f_lineno} {code.co_name}"
