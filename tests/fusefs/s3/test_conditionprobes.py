"""What was found out about a store, written down for the next process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.s3.conditionprobes import FOUND, Conditions
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from fusefs.s3.storefeatures import StoreFeature


@pytest.fixture
def store() -> Iterator[Store]:
    """A store that nobody has asked anything."""
    store = Store(StoreSettings("bucket", "http://127.0.0.1:9", "us-east-1", anonymous=True))
    yield store
    store.close()


def test_findings_are_recalled_with_their_version(store: Store, tmp_path: Path) -> None:
    """A process that goes on with the mount asks nothing."""
    told = {"version": 2, "missing": ["checksums-sent", "of-a-later-version"], "proven": True}
    (tmp_path / FOUND).write_text(json.dumps(told))
    conditions = Conditions(store, "", tmp_path)
    conditions.recall()
    assert not store.features.has(StoreFeature.CHECKSUMS_SENT)
    assert store.features.has(StoreFeature.PUT_IF_MATCH)
    conditions.keep()
    asked = ["complete-condition", "put-if-match"]
    kept = {"version": 2, "missing": ["checksums-sent"], "proven": True, "asked": asked}
    assert json.loads((tmp_path / FOUND).read_text()) == kept


@pytest.mark.parametrize(
    "text", ['{"put": false, "complete": false}', '{"version": 1, "put": false, "complete": false}']
)
def test_findings_without_a_version_are_recalled(store: Store, tmp_path: Path, text: str) -> None:
    """Release 0.1.0 wrote none, and version 1 told the same."""
    (tmp_path / FOUND).write_text(text)
    Conditions(store, "", tmp_path).recall()
    assert store.features.missing == ["complete-condition", "put-if-match"]


@pytest.mark.parametrize("text", ['{"version": 9, "put": false}', "[]", "", "null"])
def test_findings_of_an_unknown_form_are_left_and_reported(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """Conditions are used, which is safe: a store that refuses them says so."""
    (tmp_path / FOUND).write_text(text)
    Conditions(store, "", tmp_path).recall()
    assert store.features.missing == []
    assert "what the store can do is not known" in caplog.text
    assert (tmp_path / FOUND).read_text() == text
