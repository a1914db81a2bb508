"""How much JSON may hold is known before it is parsed."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.errors import EnvelopeError
from webhook.parse.jsontext import DEEPEST, MOST_VALUES, parse_json
from webhook.serve.settings import Serving

plain = st.none() | st.booleans() | st.integers() | st.text()
documents = st.recursive(
    plain, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=20
)


@settings(max_examples=50, deadline=None)
@given(documents)
def test_what_is_small_is_parsed_as_ever(document: object) -> None:
    """Brackets, quotes and backslashes in texts confuse nobody."""
    for ascii_only in (True, False):
        text = json.dumps(document, ensure_ascii=ascii_only)
        if not ascii_only and any("\ud800" <= char <= "\udfff" for char in text):
            continue
        assert parse_json(text.encode()) == document


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a"', b'"', b'"\\', b"\xff", b"[" * 99, b"[}]", b"1" * 5000]
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    """Broken texts, other encodings and numbers of thousands of digits."""
    with pytest.raises(EnvelopeError, match="is not JSON"):
        parse_json(text)


def test_other_encodings_are_refused() -> None:
    """The parser would guess them, and brackets could hide from those who count bytes."""
    with pytest.raises(EnvelopeError, match="is not JSON"):
        parse_json('{"a": 1}'.encode("utf-16"))


def test_depth_is_counted_exactly() -> None:
    """As many levels as allowed are read, one more isn't, whatever stands beside them."""
    text = "[" * (DEEPEST - 1) + '{"a": [], "]": "[[[", "b": {}}' + "]" * (DEEPEST - 1)
    with pytest.raises(EnvelopeError, match="nested deeper"):
        parse_json(text.encode())
    assert parse_json(text[1:-1].encode())


SIZE = Serving().maximum_body
HOSTILE = {
    "lists": b"[" + b"[]," * (SIZE // 3 - 1) + b"0]",
    "objects": b"[" + b'{"a":0},' * (SIZE // 8 - 1) + b"0]",
    "numbers": b"[" + b"1.5," * (SIZE // 4 - 1) + b"0]",
    "strings": b"[" + b'"ab",' * (SIZE // 5 - 1) + b"0]",
    "names": b"{" + b",".join(b'"%x":0' % n for n in range(SIZE // 10)) + b"}",
    "deep": b"[" * SIZE,
    "deep and closed": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "one wide string": b'["' + b"a" * (SIZE - 10) + "😀".encode() + b'"]',
    "quotes": b'"' * SIZE,
    "escaped quotes": b'"' + b'\\"' * (SIZE // 2 - 1),
    "backslashes": b"\\" * SIZE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_much_more_memory_than_its_size(name: str) -> None:
    """Nine times the longest body at most: two copies, four bytes a character, and the values."""
    tracemalloc.start()
    try:
        parse_json(HOSTILE[name])
    except EnvelopeError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 9 * SIZE


def test_a_large_pod_is_no_trouble() -> None:
    """The largest that the API server can store passes."""
    annotation = json.dumps({"a": [{"b": "c"}] * 10_000})
    pod = {"metadata": {"annotations": {"last": annotation}}, "spec": [{"name": "x"}] * 5000}
    assert parse_json(json.dumps(pod).encode()) == pod
    assert len(pod["spec"]) < MOST_VALUES
