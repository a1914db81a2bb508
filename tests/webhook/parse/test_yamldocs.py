"""YAML as Kubernetes would read it, and nothing that two readers read differently."""

import pytest

from webhook.errors import DocumentError, PolicyFileError
from webhook.parse.yamldocs import parse_documents
from webhook.policy.file import parse_policy

TWICE = {
    "a key": "rules: [a]\nrules: [b]\n",
    "deep in lists": "a:\n- {b: 1}\n- {b: {c: 1, c: 2}}\n",
    "as number and text": '{1: a, "1": b}',
    "as boolean and text": '{true: a, "true": b}',
    "in a later document": "a: 1\n---\nb: 1\nb: 2\n",
    "below a merged part": "x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}\n",
}


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE.keys())
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    """Of two the last would count; the error names the key, the source and the line."""
    with pytest.raises(DocumentError, match=r"(?s)file.yaml is not YAML.*occurs twice.*line \d"):
        parse_documents(text, "file.yaml")


def test_a_merged_key_may_be_overridden() -> None:
    """That is what `<<` is for; the two stand in different places."""
    (document,) = parse_documents("x: &x {a: 1, b: 1}\ny: {<<: *x, a: 2}\n", "-")
    assert document["y"] == {"a": 2, "b": 1}


def test_a_policy_with_rules_twice_is_no_policy() -> None:
    """Its first `rules` would have locked the namespace."""
    locked = "rules: [{name: locked, namespaces: [shop], buckets: []}]\n"
    with pytest.raises(PolicyFileError, match="the key 'rules' occurs twice"):
        parse_policy(locked + "rules: []\n", "policy.yaml")


def test_a_date_stays_text() -> None:
    """Kubernetes knows no dates."""
    assert parse_documents("a: 2024-01-01", "-") == [{"a": "2024-01-01"}]


def test_parts_that_are_merged_before_their_turn_are_read_right() -> None:
    """What stands deeper is put together later than what refers to it."""
    text = "z: &z {k: 1}\na: {b: &x {<<: *z, k: 2}}\ny: {<<: *x}\n"
    (document,) = parse_documents(text, "-")
    assert (document["a"]["b"]["k"], document["y"]["k"]) == (2, 2)
