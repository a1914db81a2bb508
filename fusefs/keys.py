"""Names and keys: which names can be part of an S3 key and which keys can be shown as names.

Pure functions. A name is the text between two slashes; a key is UTF-8 of at most 1 024 bytes
(S3 user guide, "Naming Amazon S3 objects").
"""

from fusefs.errors import BadName, NameTooLong

MAX_KEY = 1024
MAX_NAME = 255  # NAME_MAX, which statfs reports and applications size their buffers by
FOLDER_SUFFIX = "_$folder$"  # Hadoop's and old s3 tools' directory markers


def check(name: str, key: str) -> None:
    """Raise BadName or NameTooLong if `name` can't be created as `key`."""
    check_key(name, key)
    check_length(name)


def check_length(name: str) -> None:
    """Raise NameTooLong for a name above NAME_MAX."""
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise NameTooLong(f"{name[:40]!r}… has more than {MAX_NAME} bytes")


def check_key(name: str, key: str) -> None:
    """Raise BadName or NameTooLong if no object can have the key `key`.

    Other tools make longer names than ours: those can be used, and removed.
    """
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadName(f"{name!r} is not valid UTF-8, which S3 keys must be") from error
    if size > MAX_KEY:
        raise NameTooLong(f"the key of {name!r} has {size} bytes; S3 allows {MAX_KEY}")


def findable(name: str, key: str) -> bool:
    """Return whether an object can have this name; else no request is needed."""
    try:
        check_key(name, key)
    except (BadName, NameTooLong):
        return False
    return True


def shown(name: str) -> bool:
    """Return whether a key segment can be a name: not empty, `.` or `..`, no NUL or slash."""
    return name not in ("", ".", "..") and "\0" not in name and "/" not in name


def as_directory(name: str) -> str | None:
    """Return the directory that a `dir_$folder$` object marks, or None."""
    if name.endswith(FOLDER_SUFFIX) and len(name) > len(FOLDER_SUFFIX):
        return name[: -len(FOLDER_SUFFIX)]
    return None
