"""What the value of an option may be: a rule in words, an example, and how text becomes a value.

Pure values. A `Value` reads text into what the settings hold, or raises ValueError; the message
that a person reads is made of its rule by `options`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MB = 1 << 20  # s3fs says MB and means MiB


@dataclass(frozen=True, slots=True)
class Value:
    """`rule` completes "the value must be …"; `read` gets None where no `=` was given."""

    rule: str
    example: str
    read: Callable[[str | None], Any]


def _flag(text: str | None) -> bool:
    if text is not None:
        raise ValueError
    return True


def _switch(text: str | None) -> bool:
    if text not in (None, "", "0", "1"):
        raise ValueError
    return text != "0"


def _text(text: str | None) -> str:
    if not text or not text.isprintable():
        raise ValueError
    return text


def whole(text: str | None, least: int, most: int) -> int:
    """Return a whole number within limits."""
    text = text or ""
    # Longer than any limit here; int() itself refuses 4 300 digits and more in its own words.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError
    value = int(text)
    if not least <= value <= most:
        raise ValueError
    return value


def number(least: int = 0, most: int = 2**32 - 2) -> Value:
    """Return the rule of a whole number within limits."""
    return Value(
        f"a whole number from {least} to {most}",
        str(max(least, 5)),
        lambda text: whole(text, least, most),
    )


def seconds(least: int = 0, most: int = 10**9) -> Value:
    """Return the rule of whole seconds within limits."""
    return Value(
        f"whole seconds from {least} to {most}",
        str(max(least, 60)),
        lambda text: float(whole(text, least, most)),
    )


def megabytes(least: int, most: int) -> Value:
    """Return the rule of whole MB within limits; the value is bytes."""
    return Value(
        f"whole MB from {least} to {most}",
        str(max(least, 64)),
        lambda text: whole(text, least, most) * MB,
    )


def _mask(text: str | None) -> int:
    text = text or ""
    if not 0 < len(text) <= 4 or set(text) - set("01234567"):
        raise ValueError
    mask = int(text, 8)
    if mask > 0o777:
        raise ValueError
    return mask


def choice(*words: str) -> Value:
    """Return the rule of one of some words, in lower case as s3fs writes them."""

    def read(text: str | None) -> str:
        if text is None or text.lower() not in words:
            raise ValueError
        return text.lower()

    return Value("one of " + ", ".join(words), words[0], read)


def url(text: str | None) -> str:
    """Return an http or https URL with neither credentials nor a query, without a last slash."""
    text = text or ""
    parts = urlsplit(text)
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError
    if parts.username is not None or parts.query or parts.fragment or parts.port == 0:
        raise ValueError
    return text.rstrip("/")


def _acl(text: str | None) -> str | None:
    # Buckets whose ACLs are disabled refuse every ACL, and private is what an object is without.
    word = _CANNED.read(text)
    return None if word == "private" else str(word)


def _encryption(text: str | None) -> tuple[str, str | None] | None:
    if text == "0":
        return None
    if text in (None, "", "1"):
        return "AES256", None
    kind, _, key = (text or "").partition(":")
    if kind not in ("kmsid", "k") or not key.isprintable() or " " in key:
        raise ValueError
    return "aws:kms", key or None


def _dirty(text: str | None) -> int:
    return -1 if text == "-1" else whole(text, 50, 1 << 40)


def _debug(text: str | None) -> bool:
    return bool(_LEVELS.read(text) in ("dbg", "debug"))


_CANNED = choice(
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
_CLASSES = choice(
    "standard",
    "standard_ia",
    "onezone_ia",
    "reduced_redundancy",
    "intelligent_tiering",
    "glacier",
    "glacier_ir",
    "deep_archive",
)
_LEVELS = choice(
    "info",
    "information",
    "debug",
    "dbg",
    "warn",
    "warning",
    "err",
    "error",
    "crit",
    "critical",
    "silent",
)

ANYTHING = Value("anything", "", lambda text: text)
FLAG = Value("left out", "", _flag)
SWITCH = Value("0 or 1, or left out", "1", _switch)
TEXT = Value("given", "name", _text)
PATH = Value("a directory", "/var/cache/s3", _text)
MASK = Value("octal bits from 0 to 777", "022", _mask)
URL = Value("an http or https URL without user, query or blanks", "https://minio.example:9000", url)
ACL = Value(_CANNED.rule, _CANNED.example, _acl)
STORAGE_CLASS = Value(_CLASSES.rule, "standard_ia", lambda text: str(_CLASSES.read(text)).upper())
ENCRYPTION = Value("left out, 0, 1, kmsid or kmsid:KEY; not a key file", "kmsid:KEY", _encryption)
VERIFY = choice("2", "1")
DIRTY = Value("-1, or whole MB from 50", "5120", _dirty)
LOG_LEVEL = Value(_LEVELS.rule, _LEVELS.example, _debug)
