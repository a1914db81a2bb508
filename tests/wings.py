"""The wings of a package and the imports between them, drawn: `python -m tests.wings [--write]`.

The arrows are those of the sources, not of the table that they are checked against. Prints Mermaid,
which code hosts render; `--write` puts it into docs/design.md, where a test compares it.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from tests.sources import REPOSITORY, modules, own_imports

PAGE = REPOSITORY / "docs/design.md"
BEGIN, END = "<!-- wings: make wings -->\n", "<!-- end of wings -->\n"
GROUND = "ground"


def wing(name: str) -> str:
    """Return the wing that a module is in: its folder, `__main__`, or the ground."""
    _, _, below = name.partition(".")
    first = below.partition(".")[0]
    is_folder = (REPOSITORY / name.partition(".")[0] / first / "__init__.py").exists()
    return first if first == "__main__" or (first and is_folder) else GROUND


def arrows(package: str) -> dict[str, set[str]]:
    """Return the wings that each wing imports, the ground left out: all import it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        if module.package == package and (here := wing(module.name)) != GROUND:
            found[here] |= {wing(other) for other in own_imports(module)} - {here, GROUND}
    return dict(found)


def reached(graph: dict[str, set[str]], begin: str) -> set[str]:
    """Return the wings below one, however many arrows away."""
    below: set[str] = set()
    pending = set(graph.get(begin, ()))
    while pending:
        below.add(each := pending.pop())
        pending |= graph.get(each, set()) - below
    return below


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the arrows that no way over another wing implies."""
    return sorted(
        (above, below)
        for above, others in graph.items()
        for below in others
        if not any(below in reached(graph, other) for other in others)
    )


def mermaid(package: str) -> str:
    """Return the drawing of one package."""
    lines = [f"  {above} --> {below}" for above, below in direct(arrows(package))]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"


def section() -> str:
    """Return what stands between the marks in docs/design.md."""
    drawn = [f"`{package}`:\n\n{mermaid(package)}" for package in ("fusefs", "webhook")]
    return BEGIN + "\n" + "\n".join(drawn) + END


def main() -> int:
    """Print the drawings, or write them."""
    if "--write" not in sys.argv[1:]:
        sys.stdout.write(section())
        return 0
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + section() + rest.partition(END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
