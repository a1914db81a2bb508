"""Sending a large file while it is written, so that its close has only the tail to send.

Once a file has more changed bytes than a small one, each part that is completely changed and that
the writer has left goes to S3 in the background. A part rewritten after that is sent again by the
commit. All bytes stay in the staged file until the commit, so nothing depends on the upload: it is
given up whenever something goes wrong, and the commit starts anew.

One per body. `advance`, `stop` and `abandon` are called with its `commit_lock`; the jobs, on the
upload pool, take its `_state` lock only, and never over a request.
"""

import logging
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace

from fusefs.attributes import Posix
from fusefs.errors import FsError
from fusefs.write.multipart import Grid, MultipartUpload
from fusefs.write.staged import Staged
from fusefs.write.uploader import FileBytes, Uploader
from fusefs.write.uploadplan import MAX_OBJECT, MIN_PART, part_size_for

log = logging.getLogger(__name__)

PAUSE = 30.0  # seconds without background parts after one has failed
SHARE = 8  # a part is at most this fraction of the cache, so that several fit


class IncrementalUpload:
    """The background parts of one file; `state` is the lock that guards its staged file.

    `limit`: bytes that the cache directory may hold.
    """

    def __init__(self, uploader: Uploader, limit: int, state: threading.Lock) -> None:
        self._uploader = uploader
        self._limit = limit
        self._least = min(MIN_PART, uploader.settings.part_size)  # bytes of a part
        self._state = state
        self._jobs: dict[int, Future[None]] = {}
        self._paused_until = 0.0

    def _grid(self, staged: Staged) -> Grid:
        """Return parts small enough for the cache that reach as far as the file may grow in it."""
        limit, base = self._limit, staged.record.base
        wanted = self._uploader.settings.part_size
        most = max(MIN_PART, limit // SHARE)
        reach = min(limit + (base.size if base is not None else 0), MAX_OBJECT)
        return Grid(part_size_for(reach, min(wanted, most)))

    def advance(self, staged: Staged, start: int, end: int, posix: Posix) -> None:
        """Send the parts that a write of these bytes left behind complete."""
        outgoing = staged.outgoing
        if outgoing is None and end <= self._least:
            return  # it is all in the first part
        grid = outgoing.grid if outgoing is not None else self._grid(staged)
        last = grid.at(end - 1)
        if last <= 1 or last > grid.cells or time.monotonic() < self._paused_until:
            return
        left = range(max(1, grid.at(start) - 1), last)
        if not any(staged.local(*grid.cell(number)) for number in left):
            return
        if outgoing is None:
            outgoing = self._begin(staged, grid, posix)
            left = range(1, last)
        if outgoing is not None:
            self._send(staged, outgoing, left)

    def _begin(self, staged: Staged, grid: Grid, posix: Posix) -> MultipartUpload | None:
        settings = self._uploader.settings
        if staged.dirty.total() < settings.threshold + settings.part_size:
            return None
        stored = posix if self._uploader.stores_attributes else None
        record = replace(staged.record, posix=stored)
        try:
            headers = self._uploader.headers_for(record)
            with self._state:
                copies = staged.changed(record.base).copied()
            upload = self._uploader.store.uploads.create(record.key, headers, copies)
            self._uploader.prepare(record)
        except FsError as error:
            self._failed(record.key, error)
            return None
        checked = self._uploader.store.uploads.checked(upload)
        outgoing = MultipartUpload(upload, record.key, grid, posix, checked)
        try:
            with self._state:
                staged.upload_begun(outgoing)
        except OSError as error:  # the write has been done: whoever wrote must not do it again
            self._uploader.abort(record.key, upload)
            self._failed(record.key, error)
            return None
        return outgoing

    def _send(self, staged: Staged, outgoing: MultipartUpload, numbers: range) -> None:
        for number in numbers:
            job = self._jobs.get(number)
            under_way = job is not None and not job.done()
            if number in outgoing.parts or under_way:
                continue
            if staged.local(*outgoing.grid.cell(number)):
                self._jobs[number] = self._uploader.submit(self._job, staged, outgoing, number)

    def _job(self, staged: Staged, outgoing: MultipartUpload, number: int) -> None:
        with self._state:
            changes = outgoing.changes(number)
            wanted = staged.outgoing is outgoing and staged.local(*outgoing.grid.cell(number))
        if not wanted:  # cut off or copied over while it waited for its turn
            return
        try:
            data = FileBytes(staged.read, staged.file)
            part = self._uploader.part(
                outgoing.key, outgoing.upload, number, *outgoing.grid.cell(number), data
            )
        except FsError as error:
            with self._state:
                changed = outgoing.changes(number) != changes
            if not changed:  # else it was changed between its checksum and its sending
                self._failed(outgoing.key, error)
            return
        with self._state:
            if outgoing.changes(number) == changes and staged.outgoing is outgoing:
                staged.part_sent(part)

    def _failed(self, key: str, error: FsError | OSError) -> None:
        self._paused_until = time.monotonic() + PAUSE
        log.info(
            "a part could not be sent ahead; the commit sends it",
            extra={"key": key, "error": str(error)},
        )

    def stop(self) -> None:
        """Begin no more, and wait for what is under way."""
        if self._jobs:
            for job in self._jobs.values():
                job.cancel()
            wait(self._jobs.values())
            self._jobs.clear()

    def abandon(self, staged: Staged) -> None:
        """Give up an upload whose bytes aren't wanted any more."""
        self.stop()
        outgoing = staged.outgoing
        if outgoing is not None:
            with suppress(OSError), self._state:
                staged.upload_ended()
            self._uploader.abort(outgoing.key, outgoing.upload)
