"""Which optimisations mounts of tests do without: those named in S3MOUNT_TEST_WITHOUT.

`S3MOUNT_TEST_WITHOUT=lists,heads` runs the mounted tests with these switched off, `all` with none
left. Tests that count requests, or are about an optimisation itself, have the marker `savings` and
are left out then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest

from fusefs.mount.settings import SAVINGS
from fusefs.run import podconfig

VARIABLE = "S3MOUNT_TEST_WITHOUT"
# Those with an option of their own; the others are `--without`'s.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "background-fill": ("--background-fill", "0"),
    "fast-path": ("--sdk-only",),
}
ALL = frozenset({*SAVINGS, *OPTIONS})


def named(text: str | None = None) -> frozenset[str]:
    """Return what the variable names; raises UsageError for what is no optimisation."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    words = frozenset(word for word in text.split(",") if word)
    if words == {"all"}:
        return ALL
    if unknown := sorted(words - ALL):
        choice = ", ".join(sorted(ALL))
        raise pytest.UsageError(f"{VARIABLE}: {unknown[0]!r} is none of {choice}; or `all`")
    return words


def without(off: frozenset[str]) -> frozenset[str]:
    """Return those that are `MountSettings.without`'s."""
    return off.intersection(SAVINGS)


def switched(options: Sequence[str], off: frozenset[str]) -> list[str]:
    """Return the options of a mount, with those before them that switch these off.

    What a test switches off itself is added to that; another value of its own counts, as the last.
    """
    rest, own = list(options), set[str]()
    while "--without" in rest:
        at = rest.index("--without")
        own.update(rest[at + 1].split(","))
        del rest[at : at + 2]
    # A mount that asks for passthrough is about nothing else, and the two contradict each other.
    asked = {"passthrough"} if "--passthrough" in rest else set[str]()
    names = sorted(own | (without(off) - asked))
    others = [word for name in sorted(off.intersection(OPTIONS)) for word in OPTIONS[name]]
    return [*(["--without", ",".join(names)] if names else []), *others, *rest]


def configured(mount: Mapping[str, object]) -> dict[str, object]:
    """Return a pod's configuration of a mount, with what the variable names switched off."""
    if not (off := named()):
        return dict(mount)
    word, *options = podconfig.arguments(mount)
    return {**mount, "arguments": [word, *switched(options, off)]}
