"""Parsers of the texts of settings, one for each kind of value.

Every function raises ValueError, most with the rule as its text. Pure functions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from webhook.parse.quantities import parse_seconds

_T = TypeVar("_T")


POD, NODE = "pod", "node"
KEEPERS = (POD, NODE)


def optional(parse: Callable[[str], _T]) -> Callable[[str], _T | None]:
    """Return a parser that takes empty text for None."""
    return lambda text: parse(text) if text else None


def parse_text(text: str) -> str:
    """Return the text itself; it must not be empty."""
    if not text:
        raise ValueError("must not be empty")
    return text


def parse_list(text: str) -> tuple[str, ...]:
    """Return comma separated names; empty text is the empty list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Return comma separated KEY=VALUE pairs."""
    pairs = [item.partition("=") for item in parse_list(text)]
    if not all(key and separator for key, separator, _ in pairs):
        raise ValueError("must be a comma separated list of KEY=VALUE")
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)


def parse_count(text: str) -> int:
    """Return a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a number, at least 1")
    return int(text)


def parse_grace(text: str) -> int:
    """Return seconds, at most an hour."""
    seconds = parse_seconds(text)
    if seconds > 3600:
        raise ValueError("must be at most one hour: the drain of a node waits for it")
    return seconds


def parse_port(text: str) -> int:
    """Return a TCP port; 0 lets the system choose."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("must be a port, 0 to 65535")
    return int(text)


def parse_unprivileged_port(text: str) -> int | None:
    """Return a port that a process without privileges can open; 0 and empty text are None."""
    if text in ("", "0"):
        return None
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ValueError("must be a port, 1024 to 65535, or 0 for none")
    return int(text)


def parse_path(text: str) -> Path | None:
    """Return a path on this machine; empty text is None."""
    return Path(text) if text else None


def parse_pull_policy(text: str) -> str:
    """Return an `imagePullPolicy`."""
    if text not in ("Always", "IfNotPresent", "Never"):
        raise ValueError("must be Always, IfNotPresent or Never")
    return text


def parse_keeper(text: str) -> str:
    """Return where mounts are kept: in each pod, or by the node's plugin."""
    if text not in KEEPERS:
        raise ValueError(f"must be {' or '.join(KEEPERS)}")
    return text


def parse_log_level(text: str) -> str:
    """Return a log level in capitals."""
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()
