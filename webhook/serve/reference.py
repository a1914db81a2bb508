"""The table of settings, generated from their models: docs/settings.md and `settings`.

`python -m webhook settings --markdown > docs/settings.md` writes the document; a test compares the
two. Pure functions.
"""

from webhook.parse.table import render_table
from webhook.platform.environment import Settings
from webhook.platform.reporting import Reporting
from webhook.platform.settings import Platform
from webhook.serve.settings import Serving

_INTRO = """# Settings of the webhook

Generated from the code by `python -m webhook settings --markdown`; please don't edit.

Environment variables of the container `webhook`, set by a patch in your overlay
([install.md](install.md)); those of the last table are of the container `events`. None of them can
be changed by a pod. With wrong values the process ends with exit code 2 and names every variable
that is wrong, its value and the rule.

CPU and memory are Kubernetes quantities (`250m`, `1Gi`), durations are digits and `s`, `m` or `h`.
"""
_SECTIONS: tuple[tuple[str, type[Settings]], ...] = (
    ("What is injected", Platform),
    ("The server", Serving),
    ("Events", Reporting),
)
_OUTRO = """
Priority is not among them: Kubernetes gives a priority to pods, not to containers, and raising a
whole pod's because it mounts a bucket would be a way around the cluster's quotas.
"""


def markdown() -> str:
    """Return the whole of docs/settings.md."""
    return _INTRO + "".join(_section(title, model) for title, model in _SECTIONS) + _OUTRO


def _section(title: str, model: type[Settings]) -> str:
    rows = "".join(f"| `{name}` | {shown} | {what} |\n" for name, shown, what in model.table())
    return f"\n## {title}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}"


def plain() -> str:
    """Return a table for a terminal: variables and their defaults."""
    rows = [
        (name, shown.replace("`", "")) for _, model in _SECTIONS for name, shown, _ in model.table()
    ]
    return render_table(("VARIABLE", "DEFAULT"), rows)
