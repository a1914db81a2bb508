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
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise EnvelopeError("the body is not JSON") from error


def _too_much(of: str) -> EnvelopeError:
    return EnvelopeError(f"the body {of}", 413)


def _outside_of_strings(body: bytes) -> bytes:
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    # Two quotes for a string; half of the values may be names of members.
    quotes = plain.count(b'"')
    if quotes > 2 * MOST_VALUES:
        raise _too_much(f"holds {quotes // 2} strings, and may hold {MOST_VALUES}")
    return b"".join(plain.split(b'"')[::2])


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
