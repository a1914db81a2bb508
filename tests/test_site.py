"""The documentation as a site: it builds without a warning, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.servers.program import program
from tests.sources import REPOSITORY

OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    """Each page is in the navigation; links between pages and to headings hold (mkdocs.yml)."""
    done = subprocess.run(
        # Not --quiet: warnings would neither be written nor counted by --strict.
        [program("mkdocs"), "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert "WARNING" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/index.html").exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_outside_the_site_lead_somewhere(name: str) -> None:
    """Of the pages that a repository's visitor sees; other hosts aren't asked."""
    text = (REPOSITORY / name).read_text()
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    local = {link for link in links if link and "://" not in link}
    assert {link for link in local if not (REPOSITORY / link).exists()} == set()
