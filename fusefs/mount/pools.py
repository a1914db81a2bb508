"""The threads of one mount that wait for the store, one pool for each kind of request.

Kinds don't share a pool, so none waits for another: a `stat` isn't behind the 10 000 copies of a
rename, nor a write behind a scan. Threads are made when they are first needed. Not here: the
threads of readers (`read.fetcher`) and of the driver. Any thread.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fusefs.errors import Unavailable
from fusefs.mount.settings import MountSettings

P = ParamSpec("P")
T = TypeVar("T")


class RequestPool(ThreadPoolExecutor):
    """Threads that, once shut down, refuse work with an error callers know."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `work` done; Unavailable (EIO at the caller) when the mount has ended."""
        try:
            return super().submit(work, *args, **kwargs)
        except RuntimeError as error:
            raise Unavailable("the mount has ended") from error


class Pools:
    """The pools of one mount; `requests`, `ahead` and `uploads` of its settings are their sizes."""

    def __init__(self, settings: MountSettings) -> None:
        def pool(name: str, size: int) -> Executor:
            return RequestPool(size, thread_name_prefix=name)

        self.asks = pool("ask", settings.requests)  # somebody waits for a name
        self.ahead = pool("ahead", settings.ahead)  # HEADs of a scan, sent before they are asked
        self.moves = pool("move", settings.requests)  # copies and deletes of a directory's rename
        # Parts copied server side need no memory; one place more is for the question beside them.
        self.copies = pool("copy", settings.requests + 1)
        self.uploads = pool("upload", settings.uploads)  # parts sent: each is held in memory

    def close(self) -> None:
        """Let what runs end, forget the rest."""
        for each in (self.asks, self.ahead, self.moves, self.copies, self.uploads):
            each.shutdown(cancel_futures=True)
