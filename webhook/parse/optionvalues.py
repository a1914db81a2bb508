"""The valid values of s3fs options, as the mount itself parses them.

The mount gives them their meaning; values are checked here as well, so that `kubectl apply` reports
a wrong one instead of a container that doesn't start. A test compares both sides, option by option.
Pure functions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ValueRule:
    """`text` completes "the value must be …"; `allows` gets None where no `=` was given."""

    text: str
    allows: Callable[[str | None], bool]


def is_whole(text: str | None, least: int, most: int) -> bool:
    """Return whether a text is a whole number within limits."""
    digits = text or ""
    # Longer than any limit here; Python refuses to parse longer integers.
    if not re.fullmatch(r"[0-9]{1,20}", digits):
        return False
    return least <= int(digits) <= most


def number(least: int, most: int) -> ValueRule:
    """Return the rule of a whole number within limits."""
    text = f"a whole number from {least} to {most}"
    return ValueRule(text, lambda value: is_whole(value, least, most))


def seconds(least: int, most: int = 10**9) -> ValueRule:
    """Return the rule of whole seconds within limits."""
    text = f"whole seconds from {least} to {most}"
    return ValueRule(text, lambda value: is_whole(value, least, most))


def megabytes(least: int, most: int) -> ValueRule:
    """Return the rule of whole MB within limits."""
    text = f"whole MB from {least} to {most}"
    return ValueRule(text, lambda value: is_whole(value, least, most))


def choice(*words: str) -> ValueRule:
    """Return the rule of some words, in any case of letters."""
    return ValueRule("one of " + ", ".join(words), lambda value: (value or "").lower() in words)


def _encryption(value: str | None) -> bool:
    if value in (None, "", "0", "1"):
        return True
    kind, _, key = (value or "").partition(":")
    return kind in ("kmsid", "k") and key.isprintable() and " " not in key


def _dirty(value: str | None) -> bool:
    return value == "-1" or is_whole(value, 50, 1 << 40)


ANYTHING = ValueRule("anything", lambda _: True)
FLAG = ValueRule("left out", lambda value: value is None)
SWITCH = ValueRule("0 or 1, or left out", lambda value: value in (None, "", "0", "1"))
DIRECTORY = ValueRule("a directory", lambda value: bool(value) and str(value).isprintable())
ENCRYPTION = ValueRule("left out, 0, 1, kmsid or kmsid:KEY; not a key file", _encryption)
DIRTY = ValueRule("-1, or whole MB from 50", _dirty)
