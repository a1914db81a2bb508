"""A cache for functions of one or more texts that anybody may have written.

`lru_cache` bounds how many results it keeps and not how long their keys are: with texts
of a megabyte a few hundred of them end the process. Here long texts are computed each time. Safe to
share between threads, as that is.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

# Names, globs and paths as people write them are shorter. With MOST of them, at up to four bytes a
# character, a cache stays below 2 MiB.
LONGEST = 256
MOST = 1024
_T = TypeVar("_T")


def bounded_cache(function: Callable[..., _T]) -> Callable[..., _T]:
    """Remember the latest results of a pure function of texts, for short texts only."""
    remembered = lru_cache(maxsize=MOST)(function)

    @wraps(function)
    def call(*texts: str) -> _T:
        short = sum(map(len, texts)) <= LONGEST
        return remembered(*texts) if short else function(*texts)

    return call
