"""The documents under docs/ tell what the code does."""

import re
from io import StringIO
from pathlib import Path

import pytest

from webhook.offline import commands
from webhook.offline.commands import Terminal
from webhook.platform.settings import Platform
from webhook.policy.file import parse_policy
from webhook.policy.rules import Policy
from webhook.review.decision import Decider
from webhook.review.lookup import FixedFacts
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


RECIPES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/apps.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", RECIPES, ids=range(len(RECIPES)))
def test_a_recipe_gets_its_bucket(text: str, tmp_path: Path) -> None:
    """Each manifest of docs/apps.md is let through, with the worker and a mount in its app."""
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(text)
    out, complaints = StringIO(), StringIO()
    decider = Decider(Platform(), Policy, FixedFacts(None))
    code = commands.inject(str(manifest), "team-a", decider, Terminal(out, complaints))
    assert (code, complaints.getvalue()) == (0, "")
    assert "s3-mount-worker" in out.getvalue()
    paths = re.findall(r"s3\.mount/path\S*: (\S+)", text)
    assert paths != []
    assert [path for path in paths if f"mountPath: {path}" not in out.getvalue()] == []
