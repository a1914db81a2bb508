"""FUSE_INIT: parse the kernel's offer, choose flags and limits, and lay out the answer.

The kernel sends INIT once in the life of a mount. A worker that takes over a mount needs the result
of its predecessor, so `Negotiated` is stored in the keeper as a plain mapping.

Not here: sending (`session`), the effect of a flag on a request (`entries`, `handles`).
Pure functions over immutable values.
"""

import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from fusefs.errors import SetupError
from fusefs.kernel import wire
from fusefs.kernel.wire import Init

MIB = 1 << 20
MAX_REQUEST = MIB  # bytes of one READ or WRITE; the kernel's default fs.fuse.max_pages_limit
# Bytes read ahead at most; the limit in force is /sys/class/bdi/…/read_ahead_kb (see `mounting`).
MAX_READAHEAD = 16 * MIB
MAX_BACKGROUND = 64  # read-ahead and async direct requests in flight (the kernel's default is 12)

# The kernel handles locks (no POSIX_LOCKS, no FLOCK_LOCKS) and the umask (no DONT_MASK). Writes go
# through (no WRITEBACK_CACHE: the kernel would own sizes and times, against close-to-open).
WANTED = (
    Init.ASYNC_READ
    | Init.ATOMIC_O_TRUNC
    | Init.BIG_WRITES
    | Init.AUTO_INVAL_DATA
    | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO
    | Init.ASYNC_DIO
    | Init.PARALLEL_DIROPS
    | Init.ABORT_ERROR
    | Init.MAX_PAGES
    | Init.CACHE_SYMLINKS
    | Init.HANDLE_KILLPRIV_V2
    | Init.SETXATTR_EXT
    | Init.INIT_EXT
    | Init.DIRECT_IO_ALLOW_MMAP
    | Init.NO_EXPORT_SUPPORT
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The features that this mount asks for beyond `WANTED`.

    `posix_acl`: the kernel enforces ACLs stored as xattrs (costs a GETXATTR per node for callers
    who aren't the owner). `passthrough`: a keeper can register cache files. `resend`: a successor
    may have the kernel resend requests; False treats the kernel as one without resend.
    `max_request`: bytes of one READ or WRITE.
    """

    posix_acl: bool = True
    passthrough: bool = False
    resend: bool = True
    max_request: int = MAX_REQUEST


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The result of INIT; `flags` as in `wire.Init`, `max_request` in bytes."""

    minor: int
    flags: int
    max_request: int

    def has(self, flag: Init) -> bool:
        """Return whether both sides agreed to `flag`."""
        return bool(self.flags & flag)

    def as_mapping(self) -> dict[str, object]:
        """Return a form that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, fields: Mapping[str, object]) -> "Negotiated":
        """Return the value of an `as_mapping`; raise KeyError or ValueError for anything else."""
        values = [fields[name] for name in ("minor", "flags", "max_request")]
        if not all(isinstance(value, int) for value in values):
            raise ValueError("the stored result of INIT has a value that isn't an integer")
        return cls(*(int(str(value)) for value in values))


class Offer(NamedTuple):
    """The kernel's side of INIT."""

    major: int
    minor: int
    max_readahead: int
    flags: int


def parse_offer(body: memoryview) -> Offer:
    """Parse `fuse_init_in`; raise `struct.error` where it is cut short."""
    major, minor, max_readahead, flags = wire.INIT_IN.unpack_from(body)
    if flags & Init.INIT_EXT and len(body) >= wire.INIT_IN_EXT.size:
        flags |= wire.INIT_IN_EXT.unpack_from(body)[4] << 32
    return Offer(major, minor, max_readahead, flags)


def agree(offer: Offer, wishes: Wishes) -> Negotiated:
    """Choose from the kernel's offer; raise SetupError where its protocol is too old."""
    if (offer.major, offer.minor) < (wire.KERNEL_VERSION, wire.OLDEST_MINOR_VERSION):
        raise SetupError(
            f"the kernel speaks FUSE {offer.major}.{offer.minor}; 7.{wire.OLDEST_MINOR_VERSION} "
            "(Linux 5.4) is the oldest that works: use --driver fusepy"
        )
    wanted = WANTED
    if wishes.posix_acl:
        wanted |= Init.POSIX_ACL
    if wishes.passthrough:
        wanted |= Init.PASSTHROUGH
    if wishes.resend:
        wanted |= Init.HAS_RESEND
    minor = min(offer.minor, wire.KERNEL_MINOR_VERSION)
    return Negotiated(minor, offer.flags & wanted, wishes.max_request)


def init_out(chosen: Negotiated, page: int = mmap.PAGESIZE) -> bytes:
    """Return the `fuse_init_out` of a negotiation; `page`: the kernel's, 64 KiB on some arm64."""
    flags = chosen.flags
    return wire.INIT_OUT.pack(
        wire.KERNEL_VERSION,
        chosen.minor,
        MAX_READAHEAD,
        flags & 0xFFFFFFFF,
        MAX_BACKGROUND,
        MAX_BACKGROUND * 3 // 4,  # above this the block layer counts the mount as congested
        chosen.max_request,
        1,  # time_gran: nanoseconds
        chosen.max_request // page,
        0,
        flags >> 32,
        1 if flags & Init.PASSTHROUGH else 0,  # max_stack_depth: the cache is on a plain disk
        0,
    )


def other_major() -> bytes:
    """Return the answer to a newer major version; the kernel then sends INIT again with ours."""
    return wire.INIT_OUT.pack(wire.KERNEL_VERSION, wire.KERNEL_MINOR_VERSION, *([0] * 11))
