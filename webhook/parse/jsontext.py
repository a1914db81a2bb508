"""Untrusted JSON: its nesting and number of values are checked before it is parsed.

Parsed values take up to thirty times a text's size: eight megabytes of `[],[],[]` are 180 MiB of
lists. So values and levels are bounded first, by counting bytes outside of strings, which costs a
fraction of parsing. UTF-8 only, as in Kubernetes: in UTF-16 brackets would not be counted.
Pure.
"""

import json
from typing import Any

from webhook.errors import EnvelopeError

# A pod of 500 containers with a hundred fields each. A value costs about 100 bytes.
MOST_VALUES = 150_000
# A pod is about fifteen levels deep; our recursion stays within this.
DEEPEST = 100


def parse_json(body: bytes) -> Any:
    """Return the parsed text; EnvelopeError (400) if it isn't JSON, (413) if it is too large."""
    outside = _outside_of_strings(body)
    # Every value but the first follows one of these, and so does every member's name.
    values = sum(map(outside.count, (b"[", b"{", b",", b":")))
    if values > MOST_VALUES:
        raise _too_much(f"holds {values} values, and may hold {MOST_VALUES}")
    if _is_deep(outside):
        raise _too_much(f"is nested deeper than {DEEPEST} levels")
    del outside  # the parser needs the memory
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise EnvelopeError("the body is not JSON") from error


def _too_much(of: str) -> EnvelopeError:
    return EnvelopeError(f"the body {of}", 413)


_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{},:"'))


def _outside_of_strings(body: bytes) -> bytes:
    """Return the brackets, commas and colons of a text that aren't in strings.

    All but these and quotes is deleted first, so that most strings are two quotes, which go
    together. A quote that stays belongs to a string that has some of these bytes in it, or joins
    two such strings, and between those nothing counted is lost.
    """
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    structure = plain.translate(None, _NO_STRUCTURE).replace(b'""', b"")
    # Two quotes for a string; half of the values may be names of members.
    quotes = structure.count(b'"')
    if quotes > 2 * MOST_VALUES:
        raise _too_much(f"holds {quotes // 2} strings, and may hold {MOST_VALUES}")
    return b"".join(structure.split(b'"')[::2])


_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _is_deep(outside: bytes) -> bool:
    """Return whether more than DEEPEST levels of brackets are nested, removed from the inside."""
    brackets = outside.translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(DEEPEST):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            # Nothing left, or unbalanced brackets, which the parser reports.
            return False
        brackets = inner
    return bool(brackets)
