"""JSON from strangers: looked over for nesting and number before it is parsed.

A parser makes up to thirty times a text's size of it: eight megabytes of `[],[],[]` are 180 MiB of
lists. So how much a text may hold is found out first, by counting bytes outside of its strings,
which costs a small part of parsing it. UTF-8 only, as Kubernetes is: in UTF-16 brackets could hide.
Pure.
"""

import json
from typing import Any

from webhook.errors import EnvelopeError

# A pod of 500 containers with a hundred fields each. A value costs about 100 bytes.
MOST_VALUES = 150_000
# A pod is about fifteen levels deep; deeper than this nothing of ours follows.
DEEPEST = 100


def parse_json(body: bytes) -> Any:
    """What the text says; EnvelopeError (400) when it is no JSON, or (413) holds too much of it."""
    outside = _outside_of_strings(body)
    # Every value but the first is behind one of these; and so is every member's name.
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
    # Two quotes for a string, and half of the values may be names of members.
    quotes = plain.count(b'"')
    if quotes > 2 * MOST_VALUES:
        raise _too_much(f"holds {quotes // 2} strings, and may hold {MOST_VALUES}")
    return b"".join(plain.split(b'"')[::2])


_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _is_deep(outside: bytes) -> bool:
    """Take away the innermost brackets, level by level; more levels than we go are too many."""
    brackets = outside.translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(DEEPEST):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            # Nothing left, or nothing that belongs together: the parser says what is wrong.
            return False
        brackets = inner
    return bool(brackets)
