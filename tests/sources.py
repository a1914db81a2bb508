"""The packages as text: their modules, what those import, how long they and their functions are.

Nothing is imported, only parsed. Names are absolute (`fusefs.kernel.wire`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("webhook", "fusefs", "certs")


@dataclass(frozen=True)
class Module:
    """One file of a package."""

    path: Path

    @property
    def name(self) -> str:
        """The name it is imported by."""
        parts = self.path.relative_to(REPOSITORY).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        """The top-level package it is part of."""
        return self.name.partition(".")[0]

    @cached_property
    def _text(self) -> str:
        return self.path.read_text()

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self._text.splitlines())

    @property
    def docstring(self) -> str:
        """What it says of itself."""
        return ast.get_docstring(self._tree) or ""

    @cached_property
    def _tree(self) -> ast.Module:
        return ast.parse(self._text)

    def functions(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the number of lines of each function and method."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1

    def classes(self) -> list[str]:
        """Return the names of its public classes."""
        return [
            node.name
            for node in self._tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]

    @cached_property
    def imports(self) -> set[str]:
        """What it imports when it runs; `from a import b` counts as `a.b`."""
        found: set[str] = set()
        pending: list[ast.AST] = [self._tree]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Import):
                found.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update(f"{self._origin(node)}.{each.name}" for each in node.names)
            elif not _is_for_types(node):
                pending.extend(ast.iter_child_nodes(node))
        return found

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        is_package = self.path.name == "__init__.py"
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@cache
def modules() -> dict[str, Module]:
    """Return all modules of the packages by name."""
    found = (Module(path) for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return {module.name: module for module in found}


def own_imports(module: Module) -> set[str]:
    """Return the modules of ours that it imports."""
    known = modules()
    near = {name if name in known else name.rpartition(".")[0] for name in module.imports}
    return near & known.keys()


def reach(name: str) -> set[str]:
    """Return the modules of ours that come with this one, however indirectly."""
    found: set[str] = set()
    pending = [name]
    while pending:
        for each in own_imports(modules()[pending.pop()]) - found:
            found.add(each)
            pending.append(each)
    return found


def foreign_imports(module: Module) -> set[str]:
    """Return the top-level names of all it imports that isn't of its own package."""
    return {name.partition(".")[0] for name in module.imports} - {module.package}
