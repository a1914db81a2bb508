"""Pods created one after the other for as long as something else happens.

They are dry runs: the API server asks the webhook and the guards, and stores nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cluster.conftest import Place


@dataclass
class Creations:
    """How many pods were created so far, and why some were not."""

    count: int = 0
    refused: list[str] = field(default_factory=list)


@contextmanager
def creations(place: Place) -> Iterator[Creations]:
    """Create pods with a bucket from a thread, until the block ends."""
    seen, ended = Creations(), threading.Event()

    def create() -> None:
        while not ended.is_set():
            refusal = place.refusal()
            seen.count += 1
            if refusal:
                seen.refused.append(refusal)

    thread = threading.Thread(target=create)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(30)
