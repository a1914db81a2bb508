"""The policy's file: YAML to a `Policy`.

Strict: an unknown key is an error, for a misspelt restriction would have no effect. Not here:
reading the file again when it changes (`serve.livepolicy`). Pure but for reading the file.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from webhook.errors import DocumentError, PolicyFileError
from webhook.parse.globs import NAMESPACE
from webhook.parse.quantities import parse_bytes, parse_millicores
from webhook.parse.settingvalues import KEEPERS, NODE, POD, parse_count
from webhook.parse.values import parse_cache_size, parse_endpoint
from webhook.parse.yamldocs import parse_documents, read_text
from webhook.platform.resources import Resources
from webhook.policy.rules import AWS, NOTHING, SHIPPED, SOURCES, Grant, Policy, Rule

_DEFAULTS = {"allow": SHIPPED, "deny": NOTHING}
_MAXIMA: dict[str, Callable[[str], int]] = {
    "mounts": parse_count,
    "cacheSize": parse_cache_size,
    "cpuRequest": parse_millicores,
    "cpuLimit": parse_millicores,
    "memoryRequest": parse_bytes,
    "memoryLimit": parse_bytes,
}


def parse_policy(text: str, source: str) -> Policy:
    """Return the policy in a YAML text; PolicyFileError names the place of an error."""
    try:
        documents = parse_documents(text, source)
    except DocumentError as error:
        raise PolicyFileError(str(error)) from error
    if len(documents) != 1:
        raise PolicyFileError(f"{source}: must hold exactly one YAML document")
    try:
        return _policy(_Node(documents[0], ""))
    except ValueError as error:
        raise PolicyFileError(f"{source}: {error}") from error


def read_policy(path: Path) -> Policy:
    """Return the policy in a file; PolicyFileError if it can't be read or is invalid."""
    try:
        return parse_policy(read_text(str(path)), str(path))
    except DocumentError as error:
        raise PolicyFileError(str(error)) from error


class _Node:
    """A place in the document; every error begins with its path."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def error(self, text: str) -> ValueError:
        return ValueError(f"{self.path or 'the document'} {text}")

    def fields(self, *known: str) -> dict[str, "_Node"]:
        """Return the fields of an object; PolicyFileError for an unknown one."""
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        for key in self.value:
            if key not in known:
                raise self.error(f"has the unknown key {key!r}; known: {', '.join(known)}")
        prefix = f"{self.path}." if self.path else ""
        return {key: _Node(value, prefix + key) for key, value in self.value.items()}

    def items(self) -> list["_Node"]:
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        return [_Node(value, f"{self.path}[{n}]") for n, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.isprintable():
            raise self.error("must be text; quote it when it looks like something else")
        return self.value

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def choice(self, *choices: str) -> str:
        if self.value not in choices:
            raise self.error(f"must be one of: {', '.join(choices)}")
        return str(self.value)


def _policy(node: _Node) -> Policy:
    fields = node.fields("version", "default", "rules")
    if "version" in fields and fields["version"].value != 1:
        raise fields["version"].error("must be 1")
    rules = tuple(_rule(item) for item in fields["rules"].items()) if "rules" in fields else ()
    names = [rule.name for rule in rules]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise fields["rules"].error(f"uses a name twice: {', '.join(sorted(repeated))}")
    default = fields["default"].choice(*_DEFAULTS) if "default" in fields else "allow"
    return Policy(rules, _DEFAULTS[default])


def _rule(node: _Node) -> Rule:
    fields = node.fields(
        "name", "namespaces", "namespaceLabels", "buckets", "credentials", "secrets", "endpoints",
        "maxima", "keeper", "cache",
    )  # fmt: skip
    for needed in ("name", "buckets"):
        if needed not in fields:
            raise node.error(f"has no {needed}")
    if "namespaces" not in fields and "namespaceLabels" not in fields:
        raise node.error("has neither namespaces nor namespaceLabels")
    maxima = _maxima(fields["maxima"]) if "maxima" in fields else {}
    keeper = fields["keeper"].choice(*KEEPERS) if "keeper" in fields else None
    cache = fields["cache"].choice(*KEEPERS) if "cache" in fields else None
    if (keeper, cache) == (POD, NODE):
        raise fields["cache"].error("needs keeper: node, for the node's plugin has the cache")
    return Rule(
        name=fields["name"].text(),
        namespaces=fields["namespaces"].texts() if "namespaces" in fields else ("*",),
        labels=_labels(fields["namespaceLabels"]) if "namespaceLabels" in fields else (),
        grants=tuple(_grant(item) for item in fields["buckets"].items()),
        sources=_sources(fields["credentials"]) if "credentials" in fields else SHIPPED.sources,
        secrets=_patterns(fields["secrets"]) if "secrets" in fields else ("*",),
        endpoints=_endpoints(fields["endpoints"]) if "endpoints" in fields else ("*",),
        maximum_mounts=maxima.get("mounts"),
        maximum_cache_size=maxima.get("cacheSize"),
        maximum=Resources(
            maxima.get("cpuRequest"),
            maxima.get("cpuLimit"),
            maxima.get("memoryRequest"),
            maxima.get("memoryLimit"),
        ),
        keeper=keeper,
        cache=cache,
    )


def _labels(node: _Node) -> tuple[tuple[str, str], ...]:
    if not isinstance(node.value, dict) or not node.value:
        raise node.error("must be an object with at least one label")
    return tuple((str(key), _Node(v, f"{node.path}.{key}").text()) for key, v in node.value.items())


def _grant(node: _Node) -> Grant:
    if isinstance(node.value, str):
        return Grant((_pattern(node),))
    fields = node.fields("names", "prefixes", "access")
    if "names" not in fields:
        raise node.error("has no names")
    access = fields["access"].choice("read-write", "read-only") if "access" in fields else ""
    prefixes = fields["prefixes"].items() if "prefixes" in fields else []
    return Grant(
        _patterns(fields["names"]),
        tuple(_prefix(item) for item in prefixes) if "prefixes" in fields else ("",),
        read_only=access == "read-only",
    )


def _patterns(node: _Node) -> tuple[str, ...]:
    return tuple(_pattern(item) for item in node.items())


def _pattern(node: _Node) -> str:
    text = node.text()
    if not text or re.search(r"[{}]", text.replace(NAMESPACE, "")):
        raise node.error(f"must be a name or glob; the only placeholder is {NAMESPACE}")
    return text


def _prefix(node: _Node) -> str:
    text = _pattern(node)
    if text.startswith("/") or "//" in text:
        raise node.error("must not begin with '/' or contain '//'")
    return text


def _sources(node: _Node) -> frozenset[str]:
    return frozenset(item.choice(*SOURCES) for item in node.items())


def _endpoints(node: _Node) -> tuple[str, ...]:
    return tuple(_endpoint(item) for item in node.items())


def _endpoint(node: _Node) -> str:
    text = node.text()
    if text in ("*", AWS):
        return text
    try:
        # With letters for the wildcards, the rest has to be a URL in normal form.
        return parse_endpoint(text) if not set(text) & set("*?{") else _url_glob(node)
    except ValueError as error:
        raise node.error(str(error)) from error


def _url_glob(node: _Node) -> str:
    text = _pattern(node).rstrip("/")
    if not re.match(r"https?://[^/]", text):
        raise node.error("must begin with https:// or http://")
    return text


def _maxima(node: _Node) -> dict[str, int]:
    found = {}
    for key, item in node.fields(*_MAXIMA).items():
        if isinstance(item.value, bool) or not isinstance(item.value, int | str):
            raise item.error("must be a number or a quantity")
        try:
            found[key] = _MAXIMA[key](str(item.value))
        except ValueError as error:
            raise item.error(str(error) or "must be a number or a quantity") from error
    return found
