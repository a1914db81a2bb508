"""Facts about a pod's namespace besides its name, if known.

Always answered from memory: a review sends no request. The values are immutable; `cluster` keeps
them up to date.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Lookup(Protocol):
    """Facts about namespaces; None means unknown. Must not block."""

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        """Return the namespace's labels."""

    def has_secret(self, namespace: str, name: str) -> bool | None:
        """Return whether the Secret exists."""


@dataclass(frozen=True)
class FixedFacts:
    """Fixed facts: none, or the labels given on a command line."""

    known: Mapping[str, str] | None = None

    def labels(self, _namespace: str) -> Mapping[str, str] | None:
        return self.known

    def has_secret(self, _namespace: str, _name: str) -> bool | None:
        return None
