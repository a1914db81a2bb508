"""The first bytes of a file, fetched in place of a HEAD when an open is likely to follow.

`open(2)` of a file whose attributes aren't known is a question of the kernel's (LOOKUP or GETATTR,
for the permissions) and then OPEN. The answer to the question counts for that OPEN too, if it was
asked within the same call: then a file costs one GET, and its content is no older than the open.

That it was the same call is known by what the kernel had to send otherwise. What an `ask` found
is told with no validity at all, so every other call that comes to this file asks for attributes
again before it opens, and `told` takes the answer back. After a LOOKUP the kernel asks once more
within the call itself, for the permissions.

Whether an open is likely is learned for each directory: who only looks gets a HEAD soon.

Any thread; `_lock` is a leaf.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from threading import get_ident

from fusefs import locks
from fusefs.errors import FsError, NotFound
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store

# Storage classes that are read at once, and for nothing.
READY_CLASSES = frozenset({None, "", "STANDARD", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"})
ANSWERS_MOST = 32
# Seconds within which OPEN follows; only a call that opens what `O_PATH` has found comes so late.
FOLLOWS = 1.0
# How likely an open is, by directory and in the whole mount: answers that may still be in vain. One
# that an OPEN took is worth two, an open that had none a part of one. Who has read a directory's
# names looks at all of them, mostly; what isn't small costs more in vain.
FIRST_GUESS, AFTER_NAMES, BEST_GUESS = 12.0, 2.0, 24.0
TAKEN, OPENED = 2.0, 0.25
SMALL, NOT_SMALL_GUESS = 32 * 1024, 10.0
DIRECTORIES = 1024


class _Stage(Enum):
    UNDER_WAY = auto()
    NEW = auto()  # there, and not told yet
    LOOKED_UP = auto()  # told to a LOOKUP: the same call asks for the permissions next
    READY = auto()  # for an OPEN that comes next


@dataclass(slots=True)
class _Answer:
    asker: int
    asked: float
    stage: _Stage = _Stage.UNDER_WAY
    info: ObjectInfo | None = None
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Start:
    """A version and its first bytes, and when S3 was asked."""

    info: ObjectInfo
    head: bytes
    asked: float


class FirstBytes:
    """The answers that wait for their OPEN; `length` bytes of each at most.

    `enabled` only where the kernel checks permissions itself, and asks as described above.
    """

    def __init__(self, store: Store, length: int, *, enabled: bool) -> None:
        self._store = store
        self._length = length
        self._enabled = enabled
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._guesses: OrderedDict[str, float] = OrderedDict()
        self._tendency = FIRST_GUESS
        self._lock = locks.lock(Rank.LEAF)

    def likely(
        self, key: str, listed: ObjectInfo | None = None, *, names_read: bool = False
    ) -> bool:
        """Say whether a GET is worth more than a HEAD.

        `listed` is what a LIST told of the object; `names_read` whether that was for a reader of
        its directory.
        """
        if not self._enabled:
            return False
        if listed is not None and (not listed.size or listed.storage_class not in READY_CLASSES):
            return False
        small = listed is not None and listed.size <= SMALL
        with self._lock:
            guess = self._changed(_directory(key), 0, AFTER_NAMES if names_read else FIRST_GUESS)
        return guess >= (1 if small or names_read else NOT_SMALL_GUESS)

    def _guess(self, key: str, change: float) -> None:
        self._changed(_directory(key), change)
        self._tendency = max(0.0, min(self._tendency + change, FIRST_GUESS))

    def _changed(self, directory: str, change: float, first: float = FIRST_GUESS) -> float:
        guess = self._guesses.pop(directory, None)
        guess = min(first, self._tendency) if guess is None else guess
        guess = max(0.0, min(guess + change, BEST_GUESS))
        self._guesses[directory] = guess
        if len(self._guesses) > DIRECTORIES:
            self._guesses.popitem(last=False)
        return guess

    def ask(self, key: str, listed: ObjectInfo | None = None) -> ObjectInfo:
        """GET the first bytes of an object; keep them for the OPEN, and return the rest.

        A HEAD where the GET is refused: some objects can be looked at and not read.
        """
        mine = _Answer(get_ident(), time.monotonic())
        with self._lock:
            self._answers.pop(key, None)
            self._answers[key] = mine
            self._guess(key, -1)
            if len(self._answers) > ANSWERS_MOST:
                self._answers.popitem(last=False)
        whole = listed is not None and listed.size <= self._length
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
        """Say whether an answer for this key is under way, or waits for its OPEN."""
        return key in self._answers

    def told(self, key: str, *, by_lookup: bool = False) -> bool:
        """Note that the kernel is told a file's attributes; say whether they may have no validity.

        That is so as long as the next OPEN may take the answer. To everybody else who asks it is
        lost.
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
        """Forget an answer: the kernel is told attributes in a way that isn't looked at here."""
        with self._lock:
            self._answers.pop(key, None)

    def take(self, key: str) -> Start | None:
        """Return what was asked for within the call that sends this OPEN, if anything."""
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
