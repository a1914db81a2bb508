"""Random I/O on one file, checked against bytes in memory after every step.

What fsx of the BSD and Linux test suites is for: reads, writes, holes, truncation, mapping, fsync
and reopening in every order. Run as a program, in a process of its own: a mapped page that never
comes would stop the interpreter that waits for it.

    python -m tests.fusefs.mounted.fsx FILE SEED STEPS SIZE [drop] [zeros] [rarely]

Prints a line for each step, flushed before it is done, so that the last one tells what hung or
failed. `drop` also drops the kernel's page cache of the file now and then. With `zeros` the file
system has to zero ranges and punch holes; without, it has to refuse just that. `rarely` makes most
steps between two closes.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import sys
from collections.abc import Callable, Collection

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Mismatch(Exception):
    """The file has other bytes than it should have."""


class Exerciser:
    """One file, its model, and the steps that change or compare both."""

    def __init__(self, path: str, seed: int, size: int, flags: Collection[str] = ()) -> None:
        self._path = path
        self._limit = size
        self._dice = random.Random(seed)
        self._model = bytearray()
        self._drop, self._zeros, self._rarely = (
            flag in flags for flag in ("drop", "zeros", "rarely")
        )
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)

    def run(self, steps: int) -> None:
        """Do so many steps, and compare everything at the end, in a new opening."""
        closing = 0.1 if self._rarely else 1.0
        choices: list[tuple[Callable[[], None], float]] = [
            (self.read, 20),
            (self.write, 20),
            (self.append, 5 * closing),
            (self.truncate, 6),
            (self.map_read, 5),
            (self.map_write, 5),
            (self.sync, 3 * closing),
            (self.reopen, 4 * closing),
            (self.second_writer, 3 * closing),
            (self.allocate, 2),
            (self.zero_range, 6),
            (self.punch_hole, 4),
            (self.copy_within, 3),
            (self.check_size, 5),
        ]
        steps_, weights = zip(*choices, strict=True)
        for number in range(steps):
            step = self._dice.choices(steps_, weights)[0]
            print(number, step.__name__, len(self._model), end=" ", flush=True)
            step()
            print("ok", flush=True)
        self.reopen()
        self._compare(0, self._limit, os.pread(self._file, self._limit + 1, 0))
        os.close(self._file)

    def model(self) -> bytes:
        """Return what the file must have now."""
        return bytes(self._model)

    def _compare(self, offset: int, length: int, found: bytes) -> None:
        expected = bytes(self._model[offset : offset + length])
        if found == expected:
            return
        pairs = zip(found, expected, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
        raise Mismatch(
            f"offset {offset + at}: read {found[at : at + 8].hex()} ({len(found)} bytes), "
            f"expected {expected[at : at + 8].hex()} ({len(expected)} bytes)"
        )

    def _somewhere(self, end: int) -> tuple[int, int]:
        """Return an offset below `end` and a length: small, page-like or large."""
        offset = self._dice.randrange(max(end, 1))
        largest = self._dice.choice([16, 4096, 65_536, self._limit // 4])
        if self._dice.random() < 0.3:
            offset -= offset % 4096
        return offset, self._dice.randrange(1, largest + 1)

    def _store(self, offset: int, data: bytes) -> None:
        if offset > len(self._model):
            self._model.extend(bytes(offset - len(self._model)))
        self._model[offset : offset + len(data)] = data

    def read(self) -> None:
        offset, length = self._somewhere(len(self._model) + 5000)
        self._compare(offset, length, os.pread(self._file, length, offset))

    def write(self) -> None:
        offset, length = self._somewhere(self._limit)
        data = self._dice.randbytes(min(length, self._limit - offset))
        self._store(offset, data)
        if os.pwrite(self._file, data, offset) != len(data):
            raise Mismatch("a short write")

    def append(self) -> None:
        data = self._dice.randbytes(min(3000, self._limit - len(self._model)))
        with open(self._path, "ab", buffering=0) as file:
            file.write(data)
        self._model.extend(data)

    def truncate(self) -> None:
        size = self._dice.choice([0, len(self._model) // 2, self._dice.randrange(self._limit)])
        if self._rarely or self._dice.random() < 0.5:
            os.ftruncate(self._file, size)
        else:
            os.truncate(self._path, size)
        kept = self._model[:size]
        self._model = kept + bytes(size - len(kept))

    def map_read(self) -> None:
        if not self._model:
            return
        offset, length = self._somewhere(len(self._model))
        with mmap.mmap(self._file, len(self._model), prot=mmap.PROT_READ) as view:
            self._compare(offset, length, view[offset : offset + length])

    def map_write(self) -> None:
        if not self._model:
            return
        offset, length = self._somewhere(len(self._model))
        data = self._dice.randbytes(min(length, len(self._model) - offset))
        with mmap.mmap(self._file, len(self._model)) as view:
            view[offset : offset + len(data)] = data
            if self._dice.random() < 0.5:
                view.flush()
        self._store(offset, data)

    def sync(self) -> None:
        os.fsync(self._file)
        if self._drop:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def reopen(self) -> None:
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR)

    def second_writer(self) -> None:
        other = os.open(self._path, os.O_RDWR)
        offset, length = self._somewhere(self._limit)
        data = self._dice.randbytes(min(length, self._limit - offset, 20_000))
        self._store(offset, data)
        os.pwrite(other, data, offset)
        self._compare(offset, len(data), os.pread(self._file, len(data), offset))
        os.close(other)

    def allocate(self) -> None:
        size = self._dice.randrange(1, self._limit)
        os.posix_fallocate(self._file, 0, size)
        self._model.extend(bytes(max(0, size - len(self._model))))

    def zero_range(self) -> None:
        offset, length = self._somewhere(self._limit)
        length = min(length, self._limit - offset)
        if self._dice.random() < 0.3:
            kept = max(0, min(length, len(self._model) - offset))
            if self._fallocate(ZERO_RANGE | KEEP_SIZE, offset, length) and kept:
                self._store(offset, bytes(kept))
        elif self._fallocate(ZERO_RANGE, offset, length):
            self._store(offset, bytes(length))

    def punch_hole(self) -> None:
        offset, length = self._somewhere(self._limit)
        kept = max(0, min(length, len(self._model) - offset))
        if self._fallocate(PUNCH_HOLE | KEEP_SIZE, offset, length) and kept:
            self._store(offset, bytes(kept))

    def _fallocate(self, mode: int, offset: int, length: int) -> bool:
        """Say whether it was done; it has to be just where zeros are asked for."""
        number = 0
        if _libc.fallocate(self._file, mode, offset, length) != 0:
            number = ctypes.get_errno()
        if number != (0 if self._zeros else errno.EOPNOTSUPP):
            raise Mismatch(f"fallocate mode {mode} at {offset} for {length}: errno {number}")
        return self._zeros

    def copy_within(self) -> None:
        if not self._model:
            return
        offset, length = self._somewhere(len(self._model))
        length = min(length, len(self._model) - offset, self._limit // 4)
        target = self._dice.randrange(self._limit - length)
        if target < offset + length and offset < target + length:
            return  # copy_file_range refuses ranges that overlap
        copied = os.copy_file_range(self._file, self._file, length, offset, target)
        self._store(target, bytes(self._model[offset : offset + copied]))

    def check_size(self) -> None:
        if not os.fstat(self._file).st_size == os.stat(self._path).st_size == len(self._model):
            raise Mismatch(f"size {os.fstat(self._file).st_size}, not {len(self._model)}")


def main() -> None:
    """Exercise one file and leave its model beside the output, for a last comparison."""
    path, seed, steps, size, *flags = sys.argv[1:]
    exerciser = Exerciser(path, int(seed), int(size), flags)
    exerciser.run(int(steps))
    sys.stderr.buffer.write(exerciser.model())


if __name__ == "__main__":
    main()
