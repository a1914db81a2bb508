"""docs/permissions.md names every request that the code sends, and policies that allow it."""

import json
import re
from pathlib import Path

from fusefs.s3.fastpath import METHODS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/permissions.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.*?) \|", TEXT, re.MULTILINE))


def sent() -> set[str]:
    """Return the S3 operations that are named in the code."""
    code = "".join(path.read_text() for path in (ROOT / "fusefs").rglob("*.py"))
    calls = r'(?:\.call|_checked|_call)\(\s*"([a-z0-9_]+)"'
    return set(METHODS) | set(re.findall(calls, code))


def policies() -> list[set[str]]:
    """Return the actions that each policy of the page allows."""
    documents = map(json.loads, re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
    return [
        {action for statement in document["Statement"] for action in statement["Action"]}
        for document in documents
        if "Statement" in document
    ]


def test_every_request_has_its_action() -> None:
    """And no other is listed."""
    assert ROWS.keys() == sent()


def test_the_policies_allow_what_is_sent_and_nothing_more() -> None:
    """The one for writers all of it; the one for readers names and content."""
    needed = set(re.findall(r"s3:\w+", " ".join(ROWS.values())))
    reading, writing = policies()
    assert writing == needed
    reads = {"list_objects_v2", "head_object", "get_object"}
    assert reading == set(re.findall(r"s3:\w+", " ".join(ROWS[name] for name in reads)))
