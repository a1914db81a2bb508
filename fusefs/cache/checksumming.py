"""Checksums for an adopted file: whoever wrote it had none, and the next process compares them.

Threading: any thread, without a lock; blocks may be evicted meanwhile.
"""

import logging
from collections.abc import Callable

from fusefs.cache.blockindex import Identity
from fusefs.cache.blocktable import BlockTable
from fusefs.cache.place import Blocks

log = logging.getLogger(__name__)


def seal(file: Blocks, table: BlockTable, identity: Identity, until: Callable[[], bool]) -> bool:
    """Compute the checksum of each block that is there; False if `until()` stopped it.

    OSError if they can't be written.
    """
    scratch = memoryview(bytearray(identity.block))
    for number in range(table.count):
        if until():
            return False
        epoch = table.epoch
        data = scratch[: identity.length(number, number + 1)]
        if not table.is_checked(number) or not _filled(file, number * identity.block, data):
            continue
        if epoch == table.epoch:
            # Punched right now, the block's CRC won't fit the hole: a miss.
            file.seal(number, data)
    return True


def _filled(file: Blocks, offset: int, data: memoryview) -> bool:
    try:
        return file.read(offset, data) == len(data)
    except OSError as error:
        log.warning("a cached block can't be read: %s", error)
        return False
