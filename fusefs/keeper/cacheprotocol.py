"""The protocol between a worker and the node's cache, which the node's plugin keeps.

Messages are those of `protocol` (JSON over SOCK_SEQPACKET, a descriptor beside it), on a socket of
its own for each mount, so the plugin knows for which mount it is asked. The worker asks, the plugin
answers each message with one. Blocks are of 128 KiB, the last one of an object perhaps shorter;
`first` and `last` are their numbers, `last` not included. The requests, by their "op":

    join  credentials                        -> (which credentials the worker has, see below)
    find  key, etag, size, first, last,      -> blocks: CRC32 of each from `first` on; the
          doubt                                 descriptor, for reading only, of a file with the
                                                object's bytes at their own offsets
                                             -> fetch: how many blocks to fetch, for all; 0 while
                                                another worker fetches the first
    keep  key, etag, size, first, sums       -> (after it come the blocks, a message each)
    quit  key, etag, size, first, last       -> (they couldn't be fetched)

`doubt`: the block `first` wasn't what its CRC32 says. `credentials` is a digest of the access key:
it can be made by who has the key alone.

Standard library only. Functions without state, usable from any thread.
"""

import hashlib
import hmac
from collections.abc import Mapping

from fusefs.keeper.protocol import ProtocolError

BLOCK = 128 << 10  # bytes; `fusefs.cache` has the same up to `LARGEST`
LARGEST = 1 << 40  # bytes of an object; larger ones have other blocks, and aren't shared
MOST = 512  # blocks of one request
NAME = "cache-{}.sock"  # of a mount's socket, beside the keeper's


def digest(access: str, secret: str) -> str:
    """Return what distinguishes one access key from another, and which only its holder can make."""
    return hmac.new(secret.encode(), b"s3mount node cache " + access.encode(), "sha256").hexdigest()


def scope_of(*parts: str) -> str:
    """Return a short name for a list of texts, another one for any other list."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def number(message: Mapping[str, object], key: str, least: int, most: int) -> int:
    """Return a field that has to be a whole number between two limits."""
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ProtocolError(f"{key!r} is not a number from {least} to {most}")
    return value


def numbers(message: Mapping[str, object], key: str) -> list[int]:
    """Return a field that has to be a list of CRC32s, of at most `MOST`."""
    value = message.get(key)
    if not isinstance(value, list) or len(value) > MOST:
        raise ProtocolError(f"{key!r} is not a list of at most {MOST} numbers")
    if not all(isinstance(each, int) and 0 <= each < 1 << 32 for each in value):
        raise ProtocolError(f"{key!r} has what isn't a CRC32")
    return value
