"""One FUSE session over a /dev/fuse descriptor: requests in, replies out.

This is the one place where an exception becomes the errno of a reply.

The descriptor is never cloned (FUSE_DEV_IOC_CLONE): requests read from a clone end with it, while
those read from a descriptor that another process keeps open can be resent to a successor.
It isn't closed here either; its opener does that.

Not here: the threads (`readers`), what requests mean (`nodes`, `entries`, `handles`,
`directories`), mount(2) (`mountcalls`).

Threading: `answer` runs on every reader at once. The table of handlers changes with INIT only,
before which the kernel sends nothing else.
"""

import errno
import logging
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fusefs import resend
from fusefs.errors import FsError, SetupError, errno_of
from fusefs.failurewarnings import Refusals
from fusefs.interface import Calls
from fusefs.kernel import negotiation, wire
from fusefs.kernel.backing import Backings
from fusefs.kernel.directories import DirectoryRequests
from fusefs.kernel.entries import EntryRequests
from fusefs.kernel.handles import HandleRequests
from fusefs.kernel.inflight import BLIND_SECONDS, InFlight
from fusefs.kernel.messages import SMALL, Messages, request_size
from fusefs.kernel.negotiation import Negotiated, Wishes
from fusefs.kernel.nodes import NodeRequests
from fusefs.kernel.notify import Notifier, send_resend
from fusefs.kernel.privileges import Privileges
from fusefs.kernel.readers import GONE, REST_SECONDS, Ending, Readers, Scratch
from fusefs.kernel.request import EMPTY, Answer, Context, Handlers, Request
from fusefs.kernel.rollback import undo
from fusefs.kernel.splicing import Splicing
from fusefs.kernel.wire import Init, Opcode
from fusefs.timings import Timings

log = logging.getLogger(__name__)

HEADROOM = 4096  # for the headers before the data of the largest WRITE
MAX_ERRNO = 511  # fs/fuse/dev.c refuses a reply with more
WHOLE_READ = struct.Struct(wire.IN_HEADER.format + wire.READ_IN.format.lstrip("="))
SILENT = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
NAMES = {int(opcode): opcode.name for opcode in Opcode}
# As metrics call them.
OPERATIONS = {int(opcode): opcode.name.lower() for opcode in Opcode}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session behaves.

    `max_readers`: threads. `memory`: bytes of requests and answers in flight; with little of it,
    requests are smaller than `wishes.max_request`.
    `spare_readers`: how many stay idle before the next one rests, `rest` seconds at most.
    `negative_ttl`: seconds the kernel may remember that a name isn't there; 0 for never.
    `blind_seconds`: how long a caller in another process namespace waits after a signal.
    """

    wishes: Wishes = field(default_factory=Wishes)
    max_readers: int = 32
    memory: int = 32 << 20
    spare_readers: int = 4
    rest: float = REST_SECONDS
    negative_ttl: float = 0.0
    blind_seconds: float = BLIND_SECONDS


def _nobody(_: Negotiated) -> None:
    """For a mount without a successor."""


class KernelSession:
    """Serves one mount with `calls`, on threads of its own.

    `negotiated`: the result of a predecessor's INIT, when the connection is taken over.
    `on_negotiated` is called before INIT is answered, so that a successor always knows its result.
    `times` counts how long each operation took, by name and errno.
    """

    def __init__(
        self,
        device: int,
        calls: Calls,
        settings: SessionSettings,
        notifier: Notifier,
        backings: Backings,
        *,
        negotiated: Negotiated | None = None,
        on_negotiated: Callable[[Negotiated], None] = _nobody,
        times: Timings[tuple[str, int]] | None = None,
    ) -> None:
        self._times = times or Timings()
        self.negotiated = negotiated
        self._device = device
        self.invalidations = notifier
        self._calls = calls
        self._settings = settings
        self._backings = backings
        self._on_negotiated = on_negotiated
        self._unknown: set[int] = set()
        self._refusals = Refusals()
        self._under_way = InFlight(self._give_up, settings.blind_seconds)
        self._handlers: Handlers = {} if negotiated is None else self._table(negotiated)
        self._handlers[Opcode.INIT] = self._init
        self._handlers[Opcode.INTERRUPT] = self._interrupt
        self._handlers[Opcode.DESTROY] = _destroy
        # A predecessor may have agreed to more than we would have.
        size = request_size(settings.memory, settings.wishes.max_request)
        self._wishes = replace(settings.wishes, max_request=size)
        largest = max(size, negotiated.max_request if negotiated else 0)
        self.messages = Messages(largest + HEADROOM, settings.memory)
        self._splicing = Splicing(device, calls)
        self._readers = Readers(
            device,
            self,
            self.messages,
            most=settings.max_readers,
            spare=settings.spare_readers,
            rest=settings.rest,
        )

    def start(self, *, resend: bool = False) -> None:
        """Begin to serve; with `resend` the kernel first resends the predecessor's open requests.

        OSError if the kernel has no resend (Linux before 6.9).
        """
        if resend:
            send_resend(self._device)
        self.invalidations.start()
        self._readers.start()

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the end of the mount; None when `timeout` seconds passed before."""
        ending = self._readers.wait(timeout)
        if ending is not None:
            self.invalidations.close()
        return ending

    def oldest_request(self) -> float:
        """Return the age in seconds of the oldest request in flight, 0.0 for none."""
        return self._under_way.oldest()

    def answered(self) -> int:
        """Return how many requests have been answered so far."""
        return self._under_way.answered

    def changes(self, before: float) -> int:
        """Return how many modifying requests that began before a monotonic time are in flight."""
        return self._under_way.changes(before)

    def answer(self, message: memoryview, scratch: Scratch) -> None:
        """Carry out one request and send its reply."""
        try:
            request = Request(message, scratch)
        except (struct.error, ValueError):
            self._refuse(message)
            return
        if request.opcode in SILENT:
            self._carry_out(request)
            return
        self._under_way.begin(request.unique, request.opcode, request.pid)
        self._finish(request)

    def answer_now(self, message: memoryview) -> bool:
        """Answer a small READ of what is in memory; False for all that may have to wait.

        Nobody can be waiting for it to be interrupted, so it isn't among those in flight.
        """
        if len(message) != WHOLE_READ.size:
            return False
        _, opcode, unique, *_, handle, offset, size, _, _, _, _ = WHOLE_READ.unpack_from(message)
        if opcode != Opcode.READ or size > SMALL or opcode not in self._handlers:
            return False
        began, view = time.monotonic(), memoryview(bytearray(size))
        try:
            count = self._calls.read_now(handle, offset, view)
        except Exception:  # noqa: BLE001 - asked again it says so to its caller
            return False
        if count < 0:
            return False
        self._times.note(("read", 0), time.monotonic() - began)
        self._under_way.passed()
        self._reply(unique, view[:count])
        return True

    def postpone(self, message: memoryview) -> bool:
        """Note a request that is answered later; False for one that must not wait."""
        try:
            request = Request(message, _no_scratch)
        except (struct.error, ValueError):
            return False
        if request.opcode in SILENT:
            return False
        self._under_way.begin(request.unique, request.opcode, request.pid)
        return True

    def answer_postponed(self, message: memoryview, scratch: Scratch) -> None:
        """Carry out a postponed request, unless its caller was released meanwhile."""
        request = Request(message, scratch)
        if self._under_way.has(request.unique):
            self._finish(request)

    def _finish(self, request: Request) -> None:
        began = time.monotonic()
        if request.opcode == Opcode.READ and self._splicing.answered(request):
            self._times.note(("read", 0), time.monotonic() - began)
            self._under_way.end(request.unique)
            return
        number, answer = self._carry_out(request)
        operation = OPERATIONS.get(request.opcode, "unknown")
        self._times.note((operation, number), time.monotonic() - began)
        if self._under_way.end(request.unique):
            self._reply(request.unique, answer, number)
        elif not number:
            self._undo(request, answer)

    def _carry_out(self, request: Request) -> tuple[int, bytes | memoryview]:
        """Return what to reply: an errno, or 0 and the body."""
        try:
            return 0, self._ask(request) or EMPTY
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller needs an errno
            return self._errno(request, error), EMPTY

    def _interrupt(self, request: Request) -> Answer:
        (unique,) = wire.INTERRUPT_IN.unpack_from(request.body)
        if not self._under_way.interrupt(unique):
            # Its reader hasn't noted it yet, or it was answered: the kernel knows which.
            time.sleep(0.001)
            self._reply(request.unique, EMPTY, errno.EAGAIN)
        return None

    def _give_up(self, unique: int) -> None:
        """Release a caller that is being killed; the request's work goes on."""
        log.info("a caller was killed while it waited; its request is answered EINTR")
        self._reply(unique, EMPTY, errno.EINTR)

    def _undo(self, request: Request, answer: bytes | memoryview) -> None:
        try:
            undo(self._calls, self._backings, request, answer)
        except Exception as error:  # noqa: BLE001 - only the log can take it
            self._errno(request, error)

    def _table(self, negotiated: Negotiated) -> Handlers:
        negative_ttl = self._settings.negative_ttl
        context = Context(
            self._calls, negotiated, self._backings, negative_ttl, self.invalidations.size_changed
        )
        privileges = Privileges(self._calls)
        return {
            **NodeRequests(context, privileges).handlers(),
            **EntryRequests(context).handlers(),
            **HandleRequests(context, privileges).handlers(),
            **DirectoryRequests(context).handlers(),
        }

    def _init(self, request: Request) -> Answer:
        offer = negotiation.parse_offer(request.body)
        if offer.major > wire.KERNEL_VERSION:
            return negotiation.other_major()
        negotiated = negotiation.agree(offer, self._wishes)
        self._on_negotiated(negotiated)
        self.negotiated = negotiated
        self._handlers.update(self._table(negotiated))
        log.info(
            "FUSE 7.%d, %d KiB requests, resend %s, passthrough %s",
            negotiated.minor,
            negotiated.max_request >> 10,
            "yes" if negotiated.has(Init.HAS_RESEND) else "no",
            "yes" if negotiated.has(Init.PASSTHROUGH) else "no",
        )
        return negotiation.init_out(negotiated)

    def _ask(self, request: Request) -> Answer:
        handler = self._handlers.get(request.opcode)
        if handler is None:
            if request.opcode not in self._unknown:
                self._unknown.add(request.opcode)
                log.info("the kernel asks for %s, not supported here", _name(request.opcode))
            raise OSError(errno.ENOSYS, "not a request this filesystem knows")
        again = bool(request.unique & wire.UNIQUE_RESEND)
        resend.asked(request.unique & ~wire.UNIQUE_RESEND, again=again)
        return handler(request)

    def _refuse(self, message: memoryview) -> None:
        log.error("a malformed request of %d bytes", len(message))
        if len(message) >= wire.IN_HEADER.size:
            _, opcode, unique, *_ = wire.IN_HEADER.unpack_from(message)
            if opcode not in SILENT:
                self._reply(unique, EMPTY, errno.EIO)

    def _reply(self, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        header = wire.OUT_HEADER.pack(wire.OUT_HEADER.size + len(body), -number, unique)
        try:
            os.writev(self._device, (header, body) if body else (header,))
        except OSError as error:
            # ENOENT: the request was aborted, or its connection.
            if error.errno == errno.ENOENT or error.errno in GONE:
                return
            log.exception("the kernel refused a reply of %d bytes", len(body))
            if not number:
                self._reply(unique, EMPTY, errno.EIO)  # else its caller waits forever

    def _errno(self, request: Request, error: Exception) -> int:
        """Turn what a request ended in into the errno of its reply, and say so where it matters."""
        number, call = errno_of(error), _name(request.opcode)
        self._refusals.warn(call, error)
        if isinstance(error, SetupError):
            log.error("%s", error)
        elif isinstance(error, (FsError, OSError)):
            log.debug("%s of node %d: %s", call, request.node, error)
        else:
            log.error("a bug while answering %s of node %d", call, request.node, exc_info=error)
        return number if number <= MAX_ERRNO else errno.EIO


def _no_scratch(size: int) -> memoryview:
    """Refuse: a request that is only inspected has no answer."""
    raise OSError(errno.EINVAL, f"no buffer for an answer of {size} bytes")


def _name(opcode: int) -> str:
    return NAMES.get(opcode) or f"opcode {opcode}"


def _destroy(request: Request) -> Answer:
    """Answer DESTROY; the next read reports the end."""
    return EMPTY
