"""A cache for functions of untrusted texts.

`lru_cache` bounds the number of its results and not the length of their keys: a few hundred texts
of a megabyte exhaust the memory. Here results of long texts aren't cached. Safe to share between
threads, as `lru_cache` is.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

# Names, globs and paths as people write them are shorter. With MOST of them, at up to four bytes a
# character, a cache stays below 2 MiB.
LONGEST = 256
MOST = 1024
_T = TypeVar("_T")


def bounded_cache(function: Callable[..., _T]) -> Callable[..., _T]:
    """Cache the latest results of a pure function, for short texts only."""
    remembered = lru_cache(maxsize=MOST)(function)

    @wraps(function)
    def call(*texts: str) -> _T:
        short = sum(map(len, texts)) <= LONGEST
        return remembered(*texts) if short else function(*texts)

    return call


def remembered(
    function: Callable[..., _T], length: Callable[..., int], longest: int, most: int
) -> Callable[..., _T]:
    """Return a pure function of frozen values that remembers its `most` latest results.

    Not those of values whose `length`, the characters of their texts, is above `longest`.
    """
    cached = lru_cache(maxsize=most)(function)

    @wraps(function)
    def call(*values: Any) -> _T:
        return cached(*values) if length(*values) <= longest else function(*values)

    return call
