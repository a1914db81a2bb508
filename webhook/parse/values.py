"""Parsers of annotation texts, one for each kind of value.

Every function raises ValueError, with a text if it is more exact than the annotation's rule.
Nothing here knows pods, other annotations or the platform's limits. Pure functions.
"""

import posixpath
import re
from urllib.parse import SplitResult, urlsplit

from webhook.parse.quantities import parse_bytes, parse_seconds

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]+")
# An object key has at most 1024 bytes; some are left for the names below the prefix.
LONGEST_PREFIX = 900
LONGEST_PATH = 1024
# The standard library caches parsed URLs, of any length.
LONGEST_URL = 1024
# A container needs these, or the kubelet mounts its own files there.
SYSTEM_TREES = ("/bin", "/boot", "/dev", "/lib", "/lib64", "/proc", "/sbin", "/sys",
                "/run/secrets", "/var/run/secrets")  # fmt: skip
SYSTEM_DIRECTORIES = ("/", "/etc", "/run", "/usr", "/usr/bin", "/usr/lib", "/var", "/var/lib",
                      "/var/run")  # fmt: skip
# runAsUser is an int64 in the API, but kernel and validation allow up to this.
_LARGEST_ID = 2**31 - 1
# With less the worker doesn't start.
SMALLEST_MEMORY = 128 * 2**20
# Less would not hold the parts of one multipart upload.
SMALLEST_CACHE = 64 * 2**20


def parse_boolean(text: str) -> bool:
    """Return a boolean: just `true` or `false`, none of YAML's other words."""
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def parse_id(text: str) -> int:
    """Return a uid or gid."""
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) > _LARGEST_ID:
        raise ValueError
    return int(text)


def parse_mode(text: str) -> str:
    """Return permission bits as four octal digits; set-id and sticky bits are refused."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError
    return text.zfill(4)


def parse_prefix(text: str) -> str:
    """Return a directory's key prefix, with one trailing slash; empty stays empty."""
    if not text:
        return ""
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    if len(text.encode()) > LONGEST_PREFIX:
        raise ValueError(f"must be at most {LONGEST_PREFIX} bytes long")
    segments = text.removesuffix("/").split("/")
    if not all(segments):
        raise ValueError("must not begin with '/' or contain '//'")
    if "." in segments or ".." in segments:
        raise ValueError("must not contain '.' or '..' as a directory")
    return "/".join(segments) + "/"


def parse_path(text: str) -> str:
    """Return an absolute path in normal form that is not a system directory."""
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError("must be absolute: begin with one '/'")
    if _CONTROL.search(text) or ":" in text:
        raise ValueError("must not contain ':' or control characters")
    if len(text.encode()) > LONGEST_PATH:
        raise ValueError(f"must be at most {LONGEST_PATH} bytes long")
    if text in SYSTEM_DIRECTORIES or any(
        text == tree or text.startswith(tree + "/") for tree in SYSTEM_TREES
    ):
        raise ValueError("must not cover a system directory")
    if posixpath.normpath(text) != text:
        raise ValueError(f'must be in normal form: "{posixpath.normpath(text)}"')
    return text


def parse_region(text: str) -> str:
    """Return a region name; the SDK knows which ones exist."""
    if not _REGION.fullmatch(text):
        raise ValueError
    return text


def parse_endpoint(text: str) -> str:
    """Return an endpoint's URL in normal form: no credentials, no query, lower-case host."""
    if len(text) > LONGEST_URL:
        raise ValueError(f"must be at most {LONGEST_URL} characters long")
    if _CONTROL.search(text) or " " in text or "\\" in text:
        raise ValueError("must not contain spaces, backslashes or control characters")
    if "?" in text or "#" in text:
        raise ValueError("must have no query and no fragment")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not contain credentials: they belong into the Secret")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError("must name a host")
    return _normal_url(parts)


def _normal_url(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default) else f":{parts.port}"
    path = parts.path.rstrip("/")
    if ".." in path.split("/"):
        raise ValueError("must not contain '..'")
    return f"{parts.scheme}://{host}{port}{path}"


def parse_secret(text: str) -> str | None:
    """Return the name of a Secret, or None for `none`."""
    if text == "none":
        return None
    if not _DNS_NAME.fullmatch(text) or ".." in text:
        raise ValueError
    return text


def parse_names(text: str) -> tuple[str, ...]:
    """Return container names of a comma separated list, each once, in the given order."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(_DNS_LABEL.fullmatch(name) for name in names):
        raise ValueError
    return names


def parse_metadata(text: str) -> str:
    """Return how POSIX attributes are stored: `posix` or `none`."""
    if text not in ("posix", "none"):
        raise ValueError
    return text


def parse_cache_size(text: str) -> int:
    """Return the disk cache's limit in bytes."""
    size = parse_bytes(text)
    if size < SMALLEST_CACHE:
        raise ValueError("must be at least 64Mi")
    return size


def parse_memory_limit(text: str) -> int:
    """Return the worker's memory limit in bytes."""
    size = parse_bytes(text)
    if size < SMALLEST_MEMORY:
        raise ValueError("must be at least 128Mi")
    return size


def parse_ttl(text: str) -> int:
    """Return seconds, at most a day: for longer, other writers' files would stay invisible."""
    return parse_wait(text)


def parse_wait(text: str) -> int:
    """Return seconds, at most a day."""
    seconds = parse_seconds(text)
    if seconds > 86400:
        raise ValueError("must be at most 24h")
    return seconds


def parse_conflict(text: str) -> str:
    """Return which of two writers wins: `fail` or `overwrite`."""
    if text not in ("fail", "overwrite"):
        raise ValueError
    return text
