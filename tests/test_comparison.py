"""docs/comparison.md says of each thing how it is known."""

from __future__ import annotations

import importlib.util
import re

from tests.sources import REPOSITORY

PAGE = (REPOSITORY / "docs/comparison.md").read_text()


def section(heading: str) -> str:
    """The text below a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, its head first."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [cells[0], *cells[2:]]


def test_what_we_say_of_ourselves_leads_to_a_page_of_ours() -> None:
    """Whose sentences have tests; the language we are written in needs none."""
    head, *features = rows("Features")
    assert head[-1] == "ours"
    unsourced = [row[0] for row in features if not re.search(r"\]\(\w+\.md", row[-1])]
    assert unsourced == ["written in"]


def test_every_project_has_its_documents() -> None:
    """Those of the table's columns, by the first word of their names."""
    head, *_ = rows("Features")
    compared = {name.split()[0] for name in head[2:-1]}
    _, *documents = rows("Documents")
    assert {row[0].split()[0] for row in documents} == compared
    assert all("https://" in row[1] for row in documents)


def test_every_figure_has_a_command_that_is_there() -> None:
    """A benchmark of ours, or a target of the Makefile that runs one."""
    _, *figures = rows("Measured by us")
    makefile = (REPOSITORY / "Makefile").read_text()
    for what, measured, command in figures:
        assert re.search(r"\d|hundred", measured), what
        module = re.search(r"python -m ([\w.]+)", command)
        target = re.search(r"make ([\w-]+)", command)
        assert (module and importlib.util.find_spec(module[1])) or (
            target and f"\n{target[1]}:" in makefile
        ), command
