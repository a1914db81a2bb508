"""What FUSE_INIT agrees with old and new kernels."""

import pytest

from fusefs.errors import SetupError
from fusefs.kernel import negotiation, wire
from fusefs.kernel.negotiation import Negotiated, Offer, Wishes
from fusefs.kernel.wire import Init

EVERYTHING = (1 << 43) - 1


def offer(minor: int = 45, flags: int = EVERYTHING) -> Offer:
    return Offer(7, minor, 1 << 17, flags)


def test_only_what_the_kernel_offers_is_agreed() -> None:
    """A flag the kernel doesn't know is never sent back."""
    few = Init.ASYNC_READ | Init.WRITEBACK_CACHE
    assert negotiation.agree(offer(flags=few), Wishes()).flags == Init.ASYNC_READ


@pytest.mark.parametrize(
    "flag",
    [
        Init.WRITEBACK_CACHE,
        Init.POSIX_LOCKS,
        Init.FLOCK_LOCKS,
        Init.DONT_MASK,
        Init.NO_OPEN_SUPPORT,
        Init.NO_OPENDIR_SUPPORT,
        Init.EXPLICIT_INVAL_DATA,
        Init.OVER_IO_URING,
    ],
)
def test_what_would_break_a_promise_is_never_agreed(flag: Init) -> None:
    """Locks and umask stay the kernel's, writes go through, opens reach us."""
    assert not negotiation.agree(offer(), Wishes(passthrough=True)).has(flag)


def test_acls_and_passthrough_are_agreed_when_wished() -> None:
    """Both cost something, so a mount asks for them."""
    plain = negotiation.agree(offer(), Wishes(posix_acl=False))
    full = negotiation.agree(offer(), Wishes(posix_acl=True, passthrough=True))
    assert not plain.has(Init.POSIX_ACL) and not plain.has(Init.PASSTHROUGH)
    assert full.has(Init.POSIX_ACL) and full.has(Init.PASSTHROUGH)


def test_the_smaller_minor_version_counts() -> None:
    """Both sides speak what the older one knows."""
    assert negotiation.agree(offer(minor=36), Wishes()).minor == 36
    assert negotiation.agree(offer(minor=99), Wishes()).minor == wire.KERNEL_MINOR_VERSION


def test_a_kernel_before_7_31_is_refused_with_the_remedy() -> None:
    """Nobody gets a mount that misbehaves."""
    with pytest.raises(SetupError, match="--driver fusepy"):
        negotiation.agree(offer(minor=30), Wishes())


def test_flags2_counts_only_with_init_ext() -> None:
    """An old kernel's INIT has no upper half, whatever lies in those bytes."""
    body = wire.INIT_IN_EXT.pack(7, 31, 0, Init.ASYNC_READ, 0xFFFF)
    assert negotiation.parse_offer(memoryview(body)).flags == Init.ASYNC_READ


def test_the_answer_carries_sizes_and_both_halves_of_the_flags() -> None:
    """fuse_init_out: 1 MiB in bytes and in pages, upper flags in flags2, one level of stacking."""
    chosen = negotiation.agree(offer(), Wishes(passthrough=True))
    out = wire.INIT_OUT.unpack(negotiation.init_out(chosen, 4096))
    assert (out[0], out[1], out[6], out[8]) == (7, 45, 1 << 20, 256)
    assert out[3] | out[10] << 32 == chosen.flags
    assert out[11] == 1


def test_the_largest_request_is_counted_in_pages_of_the_kernel() -> None:
    """Those of some arm64 kernels have 64 KiB: 256 of them would be a read of 16 MiB."""
    chosen = negotiation.agree(offer(), Wishes())
    out = wire.INIT_OUT.unpack(negotiation.init_out(chosen, 64 << 10))
    assert out[8] * (64 << 10) == out[6]


def test_what_was_agreed_survives_json() -> None:
    """The keeper stores it as a mapping and the next worker reads it back."""
    chosen = negotiation.agree(offer(), Wishes())
    assert Negotiated.from_mapping(chosen.as_mapping()) == chosen
