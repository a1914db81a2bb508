"""Versions of the files that one process leaves for the next: looked at before all else in them.

A file of a version that nobody here knows is never carried out, changed or removed. No state.
"""

from collections.abc import Collection, Mapping


class UnknownVersion(ValueError):
    """Another version of s3mount wrote this file; it is to be left where it is, and reported."""


def check(told: object, known: Collection[int], unsaid: int = 1) -> int:
    """Return the version that a JSON object tells; raises UnknownVersion, ValueError if it's none.

    `unsaid` is what files count as that were written before versions were.
    """
    if not isinstance(told, Mapping):
        raise ValueError(f"a JSON object was expected, not {str(told)[:40]!r}")  # noqa: TRY004 - one error for what makes no sense
    version = told.get("version", unsaid)
    if version not in known or isinstance(version, bool):
        numbers = ", ".join(map(str, sorted(known)))
        raise UnknownVersion(f"version {version!r} is not known here, only {numbers}")
    return int(version)
