"""What is known about a pod's namespace besides its name, when anything is.

Always answered from memory: a review asks no API server. Immutable values here; who keeps them up
to date is `cluster`'s business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Lookup(Protocol):
    """Facts about namespaces; None is "not known", never "no". Must not block."""

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        """The namespace's labels."""

    def has_secret(self, namespace: str, name: str) -> bool | None:
        """Whether the Secret exists."""


@dataclass(frozen=True)
class Told:
    """Knows what it was told once: nothing, or the labels given on a command line."""

    known: Mapping[str, str] | None = None

    def labels(self, _namespace: str) -> Mapping[str, str] | None:
        return self.known

    def has_secret(self, _namespace: str, _name: str) -> bool | None:
        return None
