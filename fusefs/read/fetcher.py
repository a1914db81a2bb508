"""The threads that talk to the store for readers.

Jobs somebody waits for go before read-ahead, and one request is kept from read-ahead, so that slow
read-ahead never holds up a reader. What a job has to do after its request (write what came to the
disk) is returned by it, and done by its thread while another thread sends the next request.

Not here: what is fetched (`version`).

Threading: any thread. The lock guards the queues and is a leaf: jobs run without it. Threads start
when first needed and are daemons: a GET that hangs doesn't keep the process from ending.
"""

import time
from collections import deque
from collections.abc import Callable
from threading import Thread

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.locks import Rank

# What is left to do after a request, if anything.
Rest = Callable[[], None]
Job = Callable[[], Rest | None]
# Threads beyond the requests: as many write to the disk while all connections are busy.
STORING = 3


class Fetcher:
    """Runs jobs, at most `parallel` at once without their rest; neither may raise."""

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._ahead_limit = max(1, parallel - 1)
        self._wake = locks.condition(Rank.LEAF)
        self._urgent: deque[Job] = deque()
        self._ahead: deque[Job] = deque()
        self._running = self._running_ahead = 0
        self._idle = 0
        self._threads: list[Thread] = []
        self._closed = False

    def submit(self, job: Job, *, urgent: bool) -> None:
        """Run a job soon; after `close` it is forgotten."""
        with self._wake:
            if self._closed:
                return
            (self._urgent if urgent else self._ahead).append(job)
            # A thread that was woken and didn't get on yet still counts as idle.
            queued = len(self._urgent) + len(self._ahead)
            if queued > self._idle and len(self._threads) < self._parallel + STORING:
                thread = Thread(target=self._run, name=f"fetch-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._wake.notify()

    def hurry(self, job: Job) -> None:
        """Somebody waits for a job now."""
        with self._wake:
            if job in self._ahead:
                self._ahead.remove(job)
                self._urgent.append(job)
                self._wake.notify()

    def cancel(self, job: Job) -> bool:
        """Forget a job; False when it runs already."""
        with self._wake:
            for queue in (self._ahead, self._urgent):
                if job in queue:
                    queue.remove(job)
                    return True
            return False

    def close(self, seconds: float) -> bool:
        """Forget what is queued; return whether all that runs ended within `seconds`."""
        with self._wake:
            self._closed = True
            self._urgent.clear()
            self._ahead.clear()
            self._wake.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            job, ahead = found
            rest: Rest | None = None
            with bulkhead("a job of the fetcher"):
                rest = job()
            self._ended(ahead=ahead)
            if rest is not None:
                with bulkhead("what follows a fetch"):
                    rest()

    def _next(self) -> tuple[Job, bool] | None:
        with self._wake:
            while True:
                if self._closed:
                    return None
                if self._running < self._parallel:
                    if self._urgent:
                        self._running += 1
                        return self._urgent.popleft(), False
                    if self._ahead and self._running_ahead < self._ahead_limit:
                        self._running += 1
                        self._running_ahead += 1
                        return self._ahead.popleft(), True
                self._idle += 1
                self._wake.wait()
                self._idle -= 1

    def _ended(self, *, ahead: bool) -> None:
        """Another request may be sent; by another thread, if this one has a rest to do."""
        with self._wake:
            self._running -= 1
            self._running_ahead -= ahead
            if self._urgent or self._ahead:
                self._wake.notify()
