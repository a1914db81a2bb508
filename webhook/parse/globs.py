"""Globs of the policy: `*` and `?` for buckets, namespaces and Secrets; prefixes and URLs by part.

A star in a prefix or a URL stops at the next slash, else `https://*.example.com` would match a
foreign host with that text in its path. Pure functions; patterns of a usual length are
compiled once.
"""

import re

from webhook.parse.boundedcache import bounded_cache

NAMESPACE = "{namespace}"


@bounded_cache
def _compiled(pattern: str, star: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", pattern)
    wild = {"*": f"{star}*", "?": star}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)


def matches_name(pattern: str, text: str) -> bool:
    """Return whether a whole name matches a glob."""
    return _compiled(pattern, ".").fullmatch(text) is not None


def matches_prefix(pattern: str, prefix: str) -> bool:
    """Return whether a prefix is at or below a pattern's directory; the empty pattern is all."""
    directory = pattern and pattern.rstrip("/") + "/"
    return _compiled(directory, "[^/]").match(prefix) is not None


def matches_url(pattern: str, url: str) -> bool:
    """Return whether a whole URL matches a glob; a single star matches every URL."""
    return pattern == "*" or _compiled(pattern, "[^/]").fullmatch(url) is not None


def filled(pattern: str, namespace: str) -> str:
    """Return the pattern with `{namespace}` replaced; a namespace contains no wildcard."""
    return pattern.replace(NAMESPACE, namespace)
