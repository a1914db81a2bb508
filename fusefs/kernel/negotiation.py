"""What FUSE_INIT agrees: the kernel's offer in, our choice out.

The kernel sends INIT once in the life of a mount. A worker that takes a mount over needs what its
predecessor agreed, so `Negotiated` goes to the keeper and back as a plain mapping.

Not here: sending anything (`session`), or what the flags do to a request (`entries`, `handles`).
Pure functions over immutable values.
"""

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
MAX_BACKGROUND = 64  # read-ahead and async direct requests under way (the kernel's default is 12)

# Locks stay in the kernel (no POSIX_LOCKS, no FLOCK_LOCKS), writes go through (no WRITEBACK_CACHE:
# it would let the kernel own sizes and times, which close-to-open can't have), and umask is the
# kernel's work (no DONT_MASK).
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
    """What this mount would like beyond `WANTED`.

    `posix_acl`: the kernel enforces ACLs stored as xattrs (costs a GETXATTR per node for callers
    who aren't the owner). `passthrough`: there is somebody to register cache files with. `resend`:
    a successor may ask for requests again; without it the kernel counts as one that can't.
    """

    posix_acl: bool = True
    passthrough: bool = False
    resend: bool = True
    max_request: int = MAX_REQUEST


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed; `flags` as in `wire.Init`, `max_request` in bytes."""

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
        """Take back what `as_mapping` gave; raise KeyError or ValueError for anything else."""
        values = [fields[name] for name in ("minor", "flags", "max_request")]
        if not all(isinstance(value, int) for value in values):
            raise ValueError("what INIT agreed is numbers")
        return cls(*(int(str(value)) for value in values))


class Offer(NamedTuple):
    """The kernel's side of INIT."""

    major: int
    minor: int
    max_readahead: int
    flags: int


def parse_offer(body: memoryview) -> Offer:
    """Read `fuse_init_in`; `struct.error` where it is cut short."""
    major, minor, max_readahead, flags = wire.INIT_IN.unpack_from(body)
    if flags & Init.INIT_EXT and len(body) >= wire.INIT_IN_EXT.size:
        flags |= wire.INIT_IN_EXT.unpack_from(body)[4] << 32
    return Offer(major, minor, max_readahead, flags)


def agree(offer: Offer, wishes: Wishes) -> Negotiated:
    """Choose from the kernel's offer; `SetupError` where its protocol is too old for us."""
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


def init_out(chosen: Negotiated) -> bytes:
    """Lay out `fuse_init_out` for what was agreed."""
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
        chosen.max_request // 4096,
        0,
        flags >> 32,
        1 if flags & Init.PASSTHROUGH else 0,  # max_stack_depth: the cache is on a plain disk
        0,
    )


def other_major() -> bytes:
    """Answer a newer major version: the kernel then sends INIT again with ours."""
    return wire.INIT_OUT.pack(wire.KERNEL_VERSION, wire.KERNEL_MINOR_VERSION, *([0] * 11))
