"""The image that this replica injects, announced to the guards: an entry in one object.

The guards allow sidecars whose image is announced. So the entry exists before the replica is ready,
and as long as it lives: in a rolling upgrade both images are allowed, and a version that never
starts is never announced. Replicas remove the entries of others that are gone. Not
here: what the guards compare (deploy/guards). One thread.
"""

from collections.abc import Mapping
from typing import Protocol

from certs.errors import CertsError, Conflict, Missing, Unreachable
from certs.servertime import Clock

BEAT_SECONDS = 60.0
# Seconds without a beat until a replica counts as gone. A pod that it injected last is validated
# within seconds; the rest is for an unreachable API server.
GONE_SECONDS = 600.0


class Board(Protocol):
    """The object with all entries; all methods raise Conflict, Missing or Unreachable."""

    def announce(self, replica: str, image: str, beat: str) -> Mapping[str, str]:
        """Write one entry, with a beat that differs each time; return all beats, by replica."""

    def withdraw(self, replicas: list[str]) -> None:
        """Remove entries."""


class Announcement:
    """One replica's entry, and its view of the others'."""

    def __init__(self, board: Board, clock: Clock, replica: str, image: str) -> None:
        self._board = board
        self._clock = clock
        self._replica = replica
        self._image = image
        self._announced: float | None = None
        # Beat of each other replica, and since when (monotonic) it is unchanged.
        self._heard: dict[str, tuple[str, float]] = {}

    @property
    def made(self) -> bool:
        """Whether the image is announced."""
        return self._announced is not None

    def step(self) -> CertsError | None:
        """Announce when due; return the reason of a failure, which the next step retries."""
        now = self._clock.monotonic()
        if self._announced is not None and now - self._announced < BEAT_SECONDS:
            return None
        try:
            beat = self._clock.now().isoformat()
            beats = self._board.announce(self._replica, self._image, beat)
            if silent := self._silent(beats, now):
                self._board.withdraw(silent)
        except (Conflict, Missing, Unreachable) as error:
            return error
        self._announced = now
        return None

    def _silent(self, beats: Mapping[str, str], now: float) -> list[str]:
        """Return the replicas whose beat hasn't changed for too long."""
        before, self._heard = self._heard, {}
        for replica, beat in beats.items():
            if replica != self._replica:
                same = replica in before and before[replica][0] == beat
                self._heard[replica] = before[replica] if same else (beat, now)
        return sorted(r for r, (_, since) in self._heard.items() if now - since > GONE_SECONDS)
