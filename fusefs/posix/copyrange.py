"""copy_file_range between two files of a mount: by the store where it can be, else through memory.

Any thread that may change the target.
"""

from fusefs.write.filecontent import FileContent
from fusefs.write.serversidecopy import CopiedRange, CopySource
from fusefs.write.uploadplan import MIN_PART

BUFFER = 8 << 20  # bytes


def copy_range(source: FileContent, start: int, target: FileContent, goal: int, length: int) -> int:
    """Copy up to `length` bytes at `start` to `goal`; return how many, fewer at the source's end.

    A whole file, or as much as a part of an upload, moves no bytes: the commit has the store copy
    them.
    """
    length = min(length, max(0, source.size - start))
    if _by_the_store(source, target, start, goal, length):
        info = source.info
        assert info is not None  # noqa: S101 - what is clean is in S3
        target.copy_in(CopiedRange(goal, goal + length, CopySource(info, start - goal)))
        return length
    done = 0
    buffer = memoryview(bytearray(min(length, BUFFER)))
    stream = source.stream() if not source.dirty else None
    while done < length:
        piece = buffer[: min(len(buffer), length - done)]
        got = source.read_into(start + done, piece, stream)
        if not got:
            break
        target.write(goal + done, piece[:got])
        done += got
    return done


def _by_the_store(
    source: FileContent, target: FileContent, start: int, goal: int, length: int
) -> bool:
    """Say whether a range is better copied by the store: a part's size, or a whole file."""
    if source is target or source.dirty or source.info is None or not length:
        return False
    whole = start == goal == target.size == 0 and length == source.size
    return whole or length >= MIN_PART
