"""Format versions of the files that one process leaves for the next; checked before their content.

A file of an unknown version is never applied, changed or removed. No state.
"""

from collections.abc import Collection, Mapping


class UnknownVersion(ValueError):
    """Another version of s3mount wrote this file; it is kept, and reported."""


def check(document: object, known: Collection[int], default: int = 1) -> int:
    """Return the version in a JSON object; raises UnknownVersion, or ValueError if it isn't one.

    `default` is the version of files without one, from before versions were written.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"a JSON object was expected, not {str(document)[:40]!r}")  # noqa: TRY004 - one error for what makes no sense
    version = document.get("version", default)
    if version not in known or isinstance(version, bool):
        numbers = ", ".join(map(str, sorted(known)))
        raise UnknownVersion(f"version {version!r} is not known here, only {numbers}")
    return int(version)
