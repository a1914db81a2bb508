"""What documents and docstrings name in backticks exists: modules, options, files, fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.sources import PACKAGES, REPOSITORY, modules

DOCUMENTS = [*sorted(REPOSITORY.glob("docs/*.md")), *sorted(REPOSITORY.glob("*.md"))]
QUOTED = re.compile(r"`([^`\n]+)`")
# The paragraph that says what a module is not, and the places that it names in parentheses.
NOT_HERE = re.compile(r"Not here:(.*?)(?:\n\n|$)", re.DOTALL)
NAMED = re.compile(r"\(((?:`[\w.]+`(?:, | and )?)+)\)")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
OPTION = re.compile(r"--[a-z][a-z0-9-]+")
OWN_FILE = re.compile(rf"(?:{'|'.join(PACKAGES)}|deploy|docs|tests|bench)/[\w./-]*\w")
# Options of docker and kubectl that the documents show.
# Pages about other programs, whose options they name.
OF_OTHERS = {"comparison.md", "migration.md"}
FOREIGN_OPTIONS = {
    "--build-arg",
    "--target",
    "--show-managed-fields",
    "--field-selector",
    "--delete-emptydir-data",
    "--grace-period",
    "--type",
    "--zero-range",
    *("--push", "--recursive", "--yes", "--key", "--insecure-ignore-tlog"),
    *("--certificate-identity", "--certificate-oidc-issuer"),
}
# Names of the kernel's, of S3's and of Linux's, which the code spells otherwise or not at all.
FOREIGN = re.compile(
    r"fuse_\w+_(in|out)|fuse_dirent|flags2|security\.capability|FUSE_\w+|RENAME_\w+|DT_\w+|[A-Z]\w+Copy"
)


@cache
def vocabulary() -> frozenset[str]:
    """Return every identifier and every word of a string in the packages' code."""
    found = {part for name in modules() for part in name.split(".")}
    for module in modules().values():
        tree = ast.parse(module.path.read_text())
        docstrings = {id(node) for node in _docstring_nodes(tree)}
        for node in ast.walk(tree):
            if id(node) not in docstrings:
                found.update(_words(node))
    return frozenset(found)


def _words(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.keyword(arg=str() as name):
            yield name
        case ast.alias(name=name):
            yield from name.split(".")
        case ast.Constant(value=str() as text):
            yield from re.findall(r"\w+", text)
            yield text


def _docstring_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the name of each module and each docstring in it."""
    for module in modules().values():
        for node in _docstring_nodes(ast.parse(module.path.read_text())):
            yield module.name, str(getattr(node, "value", ""))


def unknown_names(text: str) -> list[str]:
    """Return the quoted identifiers that the code does not have, dotted ones part by part."""
    return [
        quoted
        for quoted in QUOTED.findall(text)
        if DOTTED.fullmatch(quoted)
        and not FOREIGN.fullmatch(quoted)
        and any(part not in vocabulary() for part in quoted.removesuffix(".py").split("."))
    ]


def test_docstrings_name_what_exists() -> None:
    """A module, function or field that was renamed is renamed where it is explained, too."""
    wrong = {(name, each) for name, text in docstrings() for each in unknown_names(text)}
    assert sorted(wrong) == []


def test_what_is_not_in_a_module_is_in_one_that_exists() -> None:
    """What follows "Not here:" sends a reader to a module or a wing, by the end of its name."""
    ends = {
        ".".join(parts[start:])
        for parts in (name.split(".") for name in modules())
        for start in range(len(parts))
    }
    wrong = {
        (name, quoted)
        for name, text in docstrings()
        for elsewhere in NOT_HERE.findall(text)
        for group in NAMED.findall(elsewhere)
        for quoted in QUOTED.findall(group)
        if quoted not in ends
    }
    assert sorted(wrong) == []


@pytest.mark.parametrize("name", ["design.md", "journeys.md", "protocol.md", "semantics.md"])
def test_the_design_names_what_exists(name: str) -> None:
    """Modules, locks, calls and fields that these pages quote are in the code."""
    assert unknown_names((REPOSITORY / "docs" / name).read_text()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_and_options_that_exist(document: Path) -> None:
    """A path that begins with one of our folders leads somewhere; an option is one of ours."""
    quoted = " ".join(QUOTED.findall(document.read_text()))
    code = "".join(module.path.read_text() for module in modules().values())
    options = set(OPTION.findall(quoted)) - FOREIGN_OPTIONS
    if document.name in OF_OTHERS:
        options = set()
    assert [name for name in sorted(options) if name not in code] == []
    paths = sorted(set(OWN_FILE.findall(quoted)))
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
