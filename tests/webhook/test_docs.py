"""The documents under docs/ tell what the code does."""

import re
from pathlib import Path

from webhook.platform.settings import Platform
from webhook.policy.file import parse_policy
from webhook.serve import reference as settings
from webhook.serve.settings import Serving
from webhook.spec.reference import markdown

ROOT = Path(__file__).parents[2]
POLICY = (ROOT / "docs" / "policy.md").read_text()


def test_annotation_reference_is_the_registry() -> None:
    """docs/annotations.md is what `python -m webhook annotations --markdown` prints."""
    assert (ROOT / "docs" / "annotations.md").read_text() == markdown()


def test_settings_reference_is_the_models() -> None:
    """docs/settings.md is what `python -m webhook settings --markdown` prints."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings.markdown()


def test_every_setting_says_what_it_is() -> None:
    """A field without a description would be an empty cell."""
    rows = [*Platform.table(), *Serving.table()]
    assert len(rows) > 35
    assert [row for row in rows if not all(row)] == []


def test_example_policy_is_valid() -> None:
    """The policy shown in docs/policy.md can be used as it stands."""
    (text,) = re.findall(r"## A policy\n\n```yaml\n(.*?)```", POLICY, re.DOTALL)
    names = [rule.name for rule in parse_policy(text, "docs").rules]
    assert names == ["team-ml", "production", "nothing-for-sandboxes"]
