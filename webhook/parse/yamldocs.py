"""YAML documents: read from files, written for people and for `kubectl`.

PyYAML is used here only. Quoting follows what Kubernetes' own reader makes of a text, and a value
that looks like a date stays text. Pure but for reading files.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from webhook.errors import DocumentError


class _Loader(yaml.SafeLoader):
    """Dates stay text: Kubernetes knows none, and would be sent one it can't read."""


class _Dumper(yaml.SafeDumper):
    """No anchors: kubectl reads them, people don't."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    letter: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_documents(text: str, source: str) -> list[Any]:
    """Every document that isn't empty; DocumentError names the place of a syntax error."""
    try:
        # A SafeLoader without one of its resolvers: what it makes is plain data.
        documents = list(yaml.load_all(text, _Loader))
        # As kubectl does: through JSON, which knows no shared parts and no keys but text.
        return [json.loads(json.dumps(d)) for d in documents if d is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"{source} is not YAML: {error}") from error
    except (TypeError, ValueError) as error:
        raise DocumentError(f"{source} holds what JSON can't: {error}") from error


def read_text(path: str) -> str:
    """A file's text, standard input for `-`; DocumentError when it can't be read."""
    try:
        if path == "-":
            return sys.stdin.read()
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"can't read {path}: {error}") from error


def render_documents(documents: Iterable[Any]) -> str:
    """The documents as one YAML stream, keys in the order they have."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
