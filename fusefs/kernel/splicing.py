"""Replies to large READs whose bytes stay in the kernel: from a file, by a pipe, to /dev/fuse.

`preadv` into a buffer and `writev` of it copy each byte twice. Spliced, the pages that the kernel
has of the file are copied once, into those of the mount. SPLICE_F_MOVE is not given: it would take
them from the file, which has to be read from the disk afterwards.

A pipe lives for one reply. So what an error leaves in it goes with it, and what the pipes of a user
may have on a node (pipe-user-pages-soft, 64 MiB) is taken for milliseconds only.

What can't be spliced is answered the usual way. Which bytes may be read from a file says
`interface.Calls.extent`.

Threading: any thread; `_works` changes once.
"""

import errno
import fcntl
import logging
import os

from fusefs.bulkhead import bulkhead
from fusefs.interface import Calls, Extent
from fusefs.kernel import wire
from fusefs.kernel.readers import GONE
from fusefs.kernel.request import Request

log = logging.getLogger(__name__)

LEAST = 256 << 10  # bytes; for fewer a pipe takes as long as the copy it saves
PIPE_MOST = 1 << 20  # bytes; the default of pipe-max-size
PAGE = os.sysconf("SC_PAGE_SIZE")
# Of splice(2): not between these files, not in this sandbox.
NEVER = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP})


class Splicing:
    """Answers READs of `device` with the extents of `calls`."""

    def __init__(self, device: int, calls: Calls) -> None:
        self._device = device
        self._calls = calls
        self._works = True

    def answered(self, request: Request) -> bool:
        """Answer a READ, or find that nobody waits for it; False if it is left to be answered."""
        if not self._works or len(request.body) < wire.READ_IN.size:
            return False
        handle, offset, size, *_ = wire.READ_IN.unpack_from(request.body)
        if not LEAST <= size <= PIPE_MOST - PAGE:
            return False
        try:
            extent = self._calls.extent(handle, offset, size)
        except Exception:  # noqa: BLE001 - asked the usual way it says so to its caller
            return False
        if extent is None:
            return False
        try:
            return self._sent(request.unique, extent)
        finally:
            with bulkhead("the end of a spliced read"):  # whether it is answered stands already
                extent.release()

    def _sent(self, unique: int, extent: Extent) -> bool:
        header = wire.OUT_HEADER.pack(wire.OUT_HEADER.size + extent.size, 0, unique)
        try:
            pipe = _Pipe(extent.size + PAGE)
        except OSError as error:  # descriptors, or the user's limit
            log.debug("no pipe for a reply: %s", error)
            return False
        try:
            return pipe.fill(header, extent) and pipe.empty(self._device, len(header) + extent.size)
        except OSError as error:
            if error.errno in NEVER:
                self._works = False
                log.info("replies can't be spliced here, they are copied: %s", error)
            else:
                log.debug("a reply was not spliced: %s", error)
            return False
        finally:
            pipe.close()


class _Pipe:
    """A pipe of `size` bytes that never blocks."""

    def __init__(self, size: int) -> None:
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, size)
        except BaseException:
            self.close()
            raise

    def fill(self, header: bytes, extent: Extent) -> bool:
        """Take a header and the pages of an extent; False if its file is too short.

        OSError if the disk can't be read, or EAGAIN if the pages don't fit.
        """
        os.write(self._in, header)
        offset, end = extent.offset, extent.offset + extent.size
        while offset < end:
            count = os.splice(extent.descriptor, self._in, end - offset, offset_src=offset)
            if not count:
                return False
            offset += count
        return True

    def empty(self, device: int, size: int) -> bool:
        """Send all of it as one reply; True, too, if the request or the mount is gone."""
        try:
            return os.splice(self._out, device, size) == size
        except OSError as error:
            if error.errno == errno.ENOENT or error.errno in GONE:
                return True
            raise

    def close(self) -> None:
        """Give it back, with all that is in it."""
        os.close(self._out)
        os.close(self._in)
