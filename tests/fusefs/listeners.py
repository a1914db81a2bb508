"""Listening sockets that can't accept, as where the process has no descriptor left."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any


class FailingListener(socket.socket):
    """A listener whose `accept` fails with each of `failures`, then works; `calls` counts."""

    failures: list[int]
    calls: int

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail, or accept."""
        self.calls += 1
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


def failing(listener: socket.socket, failures: Iterable[int]) -> FailingListener:
    """Put a failing one into a listener's place; the descriptor is its own from now on."""
    made = FailingListener(fileno=listener.detach())
    made.failures, made.calls = list(failures), 0
    return made
