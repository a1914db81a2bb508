"""One page of a listing in a compact form.

A page holds some hundred names in S3's order as a few arrays: about 80 bytes a name with its size,
ETag and time, a tenth of what one Python object a name takes. Not here: requests, what became of
a name since (`listing`), and how many pages there may be (`pagememory`).

Threading: a `PageRows` never changes but for the marks in `flags`, which its listing guards.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fusefs import keys
from fusefs.objects import ObjectInfo

PAGE_MOST = 2048  # names; positions have this many places a page
HIDDEN, DIRECTORY = 1, 2  # marks: not there (any more); a directory whatever the key looks like
# What a name takes beside its key and ETag (two offsets, size, time, storage class, mark), and a
# page beside its names; measured with tracemalloc.
NAME_BYTES, PAGE_BYTES = 26, 1200


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory: a directory (`info` is None), or an object."""

    directory: bool
    info: ObjectInfo | None = None


Row = tuple[str, ObjectInfo | None]  # key below the directory's, and an object as LIST has it


def raw(key: str) -> bytes:
    """Return a key as S3 orders it."""
    return key.encode("utf-8", "surrogatepass")


def order(row: Row) -> bytes:
    """Return what rows are sorted by."""
    return raw(row[0])


def name_of(key: str) -> tuple[str, bool]:
    """Return the name that a key below a directory stands for, and whether of a directory."""
    if key.endswith("/"):
        return key[:-1], True
    folder = keys.as_directory(key)
    return (folder, True) if folder is not None else (key, False)


class PageRows:
    """Rows in S3's order. `flags` has the marks, one byte a row."""

    __slots__ = (
        "_classes", "_ends", "_etag_ends", "_etags", "_keys", "_modified", "_sizes", "_which",
        "flags",
    )  # fmt: skip

    def __init__(self, rows: Sequence[Row]) -> None:
        parts = [raw(key) for key, _ in rows]
        etags = [raw(info.etag) if info is not None else b"" for _, info in rows]
        self._keys, self._ends = _joined(parts)
        self._etags, self._etag_ends = _joined(etags)
        self._sizes = array("Q", (info.size if info is not None else 0 for _, info in rows))
        self._modified = array(
            "d", (info.modified if info is not None else 0.0 for _, info in rows)
        )
        classes = [info.storage_class if info is not None else None for _, info in rows]
        self._classes: tuple[str | None, ...] = tuple(dict.fromkeys(classes))
        numbers = {each: number for number, each in enumerate(self._classes)}
        self._which = array("H", (numbers[each] for each in classes))
        self.flags = bytearray(len(rows))

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def size(self) -> int:
        """How much memory this takes."""
        return PAGE_BYTES + NAME_BYTES * len(self) + len(self._keys) + len(self._etags)

    def raw_key(self, at: int) -> bytes:
        """Return the key of a row as S3 orders it."""
        return self._keys[self._ends[at - 1] if at else 0 : self._ends[at]]

    def key(self, at: int) -> str:
        """Return the key of a row, below that of the directory."""
        return self.raw_key(at).decode("utf-8", "surrogatepass")

    def after(self, key: str) -> int:
        """Return the first row behind a key."""
        at, found = self.place(raw(key))
        return at + found

    def place(self, wanted: bytes) -> tuple[int, bool]:
        """Return the first row that isn't before a raw key, and whether it is that key's."""
        keys, ends, low, high = self._keys, self._ends, 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            here = keys[ends[middle - 1] if middle else 0 : ends[middle]]
            if here == wanted:
                return middle, True
            if here < wanted:
                low = middle + 1
            else:
                high = middle
        return low, False

    def info(self, at: int, prefix: str) -> ObjectInfo | None:
        """Return what LIST returned for a row's object; None for a directory."""
        key = self.key(at)
        if key.endswith("/"):
            return None
        start = self._etag_ends[at - 1] if at else 0
        etag = self._etags[start : self._etag_ends[at]].decode("utf-8", "surrogatepass")
        return ObjectInfo(
            prefix + key,
            self._sizes[at],
            etag,
            self._modified[at],
            storage_class=self._classes[self._which[at]],
        )

    def entry(self, at: int, prefix: str) -> Entry:
        """Return what a row shows."""
        if self.flags[at] & DIRECTORY or name_of(self.key(at))[1]:
            return Entry(directory=True)
        return Entry(directory=False, info=self.info(at, prefix))

    def rows(self, prefix: str) -> Iterator[Row]:
        """Yield the rows again."""
        for at in range(len(self)):
            yield self.key(at), self.info(at, prefix)


def _joined(parts: Iterable[bytes]) -> "tuple[bytes, array[int]]":
    ends, total = array("I"), 0
    whole = list(parts)
    for part in whole:
        total += len(part)
        ends.append(total)
    return b"".join(whole), ends
