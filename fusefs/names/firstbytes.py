"""The first bytes of a file, fetched by a GET in place of a HEAD when an open is likely to follow.

For `open(2)` of a file whose attributes it doesn't know, the kernel sends LOOKUP or GETATTR (for
the permissions) and then OPEN. The answer to the first also serves the OPEN, if S3 was asked within
the same system call: then a file costs one GET, and its content is no older than the open.

That an OPEN belongs to the same call follows from the requests that the kernel would send
otherwise. Attributes from `ask` go to the kernel with no validity, so every other call on this file
asks for attributes again before it opens, and `reported` then drops the answer. After a LOOKUP the
kernel asks once more within the call itself, for the permissions.

Whether an open is likely is learned for each directory: a program that only looks at attributes
soon gets HEADs.

Any thread; `_lock` is a leaf.
"""

import time
from dataclasses import dataclass
from enum import Enum, auto
from threading import get_ident

from fusefs import locks
from fusefs.errors import FsError, NotFound
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo
from fusefs.recent import Recent
from fusefs.s3.store import Store

# Storage classes whose objects can be read at once, without a retrieval fee.
READY_CLASSES = frozenset({None, "", "STANDARD", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"})
ANSWERS_MOST = 32
# Seconds within which the OPEN follows; only the open of an `O_PATH` descriptor comes later.
FOLLOWS = 1.0
# How likely an open is, by directory and for the whole mount: the number of GETs that may still be
# wasted. A GET takes one off; an OPEN that uses its answer adds `TAKEN`, any other OPEN `OPENED`. A
# program that read a directory's names mostly looks at them all (`AFTER_NAMES`); a file that isn't
# `SMALL` costs more when wasted.
FIRST_GUESS, AFTER_NAMES, BEST_GUESS = 12.0, 2.0, 24.0
TAKEN, OPENED = 2.0, 0.25
SMALL, NOT_SMALL_GUESS = 32 * 1024, 10.0
DIRECTORIES = 1024


class _Stage(Enum):
    UNDER_WAY = auto()
    NEW = auto()  # received, not reported to the kernel yet
    LOOKED_UP = auto()  # reported to a LOOKUP: the same call asks for the permissions next
    READY = auto()  # an OPEN that comes next may take it


@dataclass(slots=True)
class _Answer:
    asker: int
    asked: float
    stage: _Stage = _Stage.UNDER_WAY
    info: ObjectInfo | None = None
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Start:
    """A version, its first bytes, and when S3 was asked (monotonic seconds)."""

    info: ObjectInfo
    head: bytes
    asked: float


class FirstBytes:
    """The answers that wait for their OPEN, each with at most `length` bytes.

    `enabled`: only where the kernel checks permissions itself, and so asks as described above.
    `shared`: pods share a cache, so that only what is surely small may come with an open: the first
    bytes of a large file are fetched once for all of them.
    """

    def __init__(self, store: Store, length: int, *, enabled: bool, shared: bool = False) -> None:
        self._store = store
        self._length = length
        self._enabled = enabled
        self._shared = shared
        self._answers: Recent[str, _Answer] = Recent(ANSWERS_MOST)
        self._guesses: Recent[str, float] = Recent(DIRECTORIES)
        self._tendency = FIRST_GUESS
        self._lock = locks.lock(Rank.LEAF)

    def likely(
        self, key: str, listed: ObjectInfo | None = None, *, names_read: bool = False
    ) -> bool:
        """Return whether to send a GET rather than a HEAD.

        `listed`: the object as a LIST described it. `names_read`: whether a program read the names
        of its directory by that LIST.
        """
        if not self._enabled or not self.may_come(listed):
            return False
        if listed is not None and (not listed.size or listed.storage_class not in READY_CLASSES):
            return False
        small = listed is not None and listed.size <= SMALL
        with self._lock:
            guess = self._changed(_directory(key), 0, AFTER_NAMES if names_read else FIRST_GUESS)
        return guess >= (1 if small or names_read else NOT_SMALL_GUESS)

    def may_come(self, known: ObjectInfo | None) -> bool:
        """Return whether the first bytes of a file may come with its open, by what is known of it.

        All of a small one comes in place of a HEAD, with the checksum of the whole.
        """
        return not self._shared or (known is not None and known.size <= self._length)

    def _guess(self, key: str, change: float) -> None:
        self._changed(_directory(key), change)
        self._tendency = max(0.0, min(self._tendency + change, FIRST_GUESS))

    def _changed(self, directory: str, change: float, first: float = FIRST_GUESS) -> float:
        guess = self._guesses.get(directory)
        guess = min(first, self._tendency) if guess is None else guess
        guess = max(0.0, min(guess + change, BEST_GUESS))
        self._guesses[directory] = guess
        return guess

    def ask(self, key: str, listed: ObjectInfo | None = None) -> ObjectInfo:
        """GET the first bytes of an object, keep them for the OPEN, and return its attributes.

        Sends a HEAD where the GET fails: some objects have attributes but can't be read. Raises
        NotFound, or the FsError of the HEAD.
        """
        mine = _Answer(get_ident(), time.monotonic())
        with self._lock:
            self._answers[key] = mine
            self._guess(key, -1)
        # A range has no checksum: what may be small is requested whole.
        whole = listed is None or listed.size <= self._length
        try:
            start = self._store.get_start(key, self._length, whole=whole)
        except NotFound:
            self._forget(key, mine)
            raise
        except FsError:
            start = None
        if start is None:
            self._forget(key, mine)
            return self._store.head(key)
        mine.info, mine.head = start
        mine.stage = _Stage.NEW
        return start[0]

    def _forget(self, key: str, answer: _Answer) -> None:
        with self._lock:
            if self._answers.get(key) is answer:
                del self._answers[key]

    @property
    def waiting(self) -> bool:
        """Whether any answer waits for its OPEN."""
        return bool(self._answers)

    def is_asked(self, key: str) -> bool:
        """Return whether the GET of this key is in flight, or its answer waits for the OPEN."""
        return key in self._answers

    def reported(self, key: str, *, by_lookup: bool = False) -> bool:
        """Note that a file's attributes go to the kernel; return whether with no validity.

        That is so while the next OPEN may take the answer. A request of any other call drops it.
        """
        with self._lock:
            answer = self._answers.get(key)
            if answer is None:
                return False
            mine = answer.stage is _Stage.NEW and answer.asker == get_ident()
            if mine:
                answer.stage = _Stage.LOOKED_UP if by_lookup else _Stage.READY
            elif answer.stage is _Stage.LOOKED_UP and not by_lookup:
                answer.stage = _Stage.READY
            else:
                del self._answers[key]
                return False
            return True

    def lose(self, key: str) -> None:
        """Drop an answer: the kernel gets attributes in a way that isn't tracked here."""
        with self._lock:
            self._answers.pop(key, None)

    def take(self, key: str) -> Start | None:
        """Return the answer fetched within the call that sends this OPEN, or None."""
        with self._lock:
            answer = self._answers.pop(key, None)
            late = answer is None or time.monotonic() - answer.asked > FOLLOWS
            if answer is None or answer.stage is not _Stage.READY or late or answer.info is None:
                self._guess(key, OPENED)
                return None
            self._guess(key, TAKEN)
            return Start(answer.info, answer.head, answer.asked)


def _directory(key: str) -> str:
    return key.rpartition("/")[0]
