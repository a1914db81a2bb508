"""YAML documents: read from files, written for people and for `kubectl`.

PyYAML is used here only. Quoting follows Kubernetes' own YAML reader, and a value that looks like a
date stays text. Pure but for reading files.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from webhook.errors import DocumentError


class _Loader(yaml.SafeLoader):
    """Loads dates as text: Kubernetes has no dates.

    A duplicate key is an error: the last one would count, and the other go unnoticed.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is expanded: its keys may be overridden.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if (text := self._key(key)) in seen:
                raise yaml.composer.ComposerError(
                    "in an object", node.start_mark, f"the key {text!r} occurs twice",
                    key.start_mark,
                )  # fmt: skip
            seen.add(text)
        return node

    def _key(self, node: yaml.Node) -> str:
        """Return the key in JSON, where `1` and "1" are the same."""
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:merge":
            return str(node.value)
        key = self.construct_object(node)
        return key if isinstance(key, str) else json.dumps(key)


class _Dumper(yaml.SafeDumper):
    """Dumps without anchors, which people can't read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    letter: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_documents(text: str, source: str) -> list[Any]:
    """Return every document that isn't empty; DocumentError names the place of a syntax error."""
    try:
        # A SafeLoader without one of its resolvers: it makes plain data only.
        documents = list(yaml.load_all(text, _Loader))
        # As kubectl does: through JSON, which has no shared parts and only text as keys.
        return [json.loads(json.dumps(d)) for d in documents if d is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"{source} is not YAML: {error}") from error
    except (TypeError, ValueError) as error:
        raise DocumentError(f"{source} holds what JSON can't: {error}") from error


def read_text(path: str) -> str:
    """Return a file's text, standard input for `-`; DocumentError if it can't be read."""
    try:
        if path == "-":
            return sys.stdin.read()
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)  # an OSError's own text has the path again
        raise DocumentError(f"can't read {path}: {reason}") from error


def render_documents(documents: Iterable[Any]) -> str:
    """Return the documents as one YAML stream, keys in their order."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
