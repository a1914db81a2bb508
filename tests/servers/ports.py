"""Free TCP ports for servers that can't be told to choose one themselves."""

from __future__ import annotations

import random
import socket

# Below Linux' range for outgoing connections (32768 up): nobody takes a port between probe and use.
_RANGE = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """Return `count` distinct loopback ports that nothing listens on right now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_RANGE, k=len(_RANGE)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports in {_RANGE}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
