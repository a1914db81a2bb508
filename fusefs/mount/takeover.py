"""Taking over the staged files that a former process could not upload.

A staged file has two descriptors. A process that goes on with a mount takes all files at once, for
they may be open. Any other takes as many as there are descriptors for; the others wait on the disk
until those are uploaded.

Not here: where a file appears in the tree (`posix.restore`), the uploads (`retrier`).
Threading: `begin` before anything else; `more` from any thread.
"""

import logging
import resource
from collections import deque
from pathlib import Path

from fusefs.bulkhead import bulkhead
from fusefs.write.contents import FileContents
from fusefs.write.filecontent import FileContent
from fusefs.write.staging import Staging

log = logging.getLogger(__name__)

# Descriptors for all else: requests, the cache's open versions, the kernel, logs.
OTHER_DESCRIPTORS = 300
AT_LEAST = 16


def most_changed_files() -> int:
    """Return how many changed files this process may have, by its limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(AT_LEAST, (limit - OTHER_DESCRIPTORS) // 2)


class Takeover:
    """The staged files in `staging` from before this process."""

    def __init__(self, staging: Staging, contents: FileContents) -> None:
        self._staging = staging
        self._contents = contents
        self._waiting: deque[Path] = deque()

    @property
    def waiting(self) -> int:
        """How many files were not taken over yet."""
        return len(self._waiting)

    def begin(self, wait: float, *, everything: bool) -> list[FileContent]:
        """Take over `everything`, or what there are descriptors for; uploads begin after `wait`."""
        self._waiting.extend(self._staging.left())
        taken = self.more(wait, everything=everything)
        if self._waiting:
            log.warning(
                "more files to upload than this process may have open; they wait their turn: "
                "raise its limit of open files",
                extra={"files": len(self._waiting), "open": len(taken)},
            )
        return taken

    def more(self, wait: float = 0.0, *, everything: bool = False) -> list[FileContent]:
        """Take over what there is room for now."""
        taken = []
        while self._waiting and (everything or not self._staging.dirty.full):
            try:
                stem = self._waiting.popleft()
            except IndexError:  # another thread took the last one
                break
            with bulkhead("taking over a staged file", file=str(stem)):
                body = self._taken_over(stem, wait)
                if body is not None:
                    taken.append(body)
        return taken

    def _taken_over(self, stem: Path, wait: float) -> FileContent | None:
        try:
            body = self._contents.restore(stem)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error(  # noqa: TRY400 - the traceback says nothing more
                "a staged file can't be understood and is left where it is",
                extra={"file": str(stem), "error": str(error)},
            )
            return None
        if body is not None and not body.unlinked:
            body.retry.again_in(wait)
            log.warning(
                "found changes that a former process did not upload",
                extra={"key": body.key, "bytes": body.unsent},
            )
        return body
