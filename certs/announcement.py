"""Which image this replica injects, told to the guards: one entry of its own in a ConfigMap.

The guards let pass the sidecars whose image is announced. So the entry is there before the replica
is ready, and stays as long as the replica lives: in a rolling upgrade both images pass, and a
version that never starts is never announced. Who falls silent is taken out by the others. Not
here: what the guards compare (deploy/guards). One thread.
"""

from collections.abc import Mapping
from typing import Protocol

from certs.errors import CertsError, Conflict, Unreachable
from certs.servertime import Clock

BEAT_SECONDS = 60.0
# A pod that a replica injected in its last moment is judged a few seconds later; the rest is for
# API servers that are away.
GONE_SECONDS = 600.0


class Board(Protocol):
    """The ConfigMap; everything raises Unreachable."""

    def announce(self, replica: str, image: str, beat: str) -> Mapping[str, str] | None:
        """Write one entry, with a beat that differs each time; the beats of all, by replica.

        None where there is no ConfigMap: without guards nobody needs to be told.
        """

    def withdraw(self, replicas: list[str]) -> None:
        """Take entries out."""


class Announcement:
    """One replica's entry, and the eye it has on the others'."""

    def __init__(self, board: Board, clock: Clock, replica: str, image: str) -> None:
        self._board = board
        self._clock = clock
        self._replica = replica
        self._image = image
        self._told: float | None = None
        # Beat of each other replica, and since when (monotonic) it is the same: no clocks compared.
        self._heard: dict[str, tuple[str, float]] = {}

    @property
    def made(self) -> bool:
        """Whether the guards were told."""
        return self._told is not None

    def step(self) -> CertsError | None:
        """Tell them when it is time; what is in the way is returned, and tried again next time."""
        now = self._clock.monotonic()
        if self._told is not None and now - self._told < BEAT_SECONDS:
            return None
        try:
            beat = self._clock.now().isoformat()
            beats = self._board.announce(self._replica, self._image, beat)
            if silent := self._silent(beats or {}, now):
                self._board.withdraw(silent)
        except (Conflict, Unreachable) as error:
            return error
        self._told = now
        return None

    def _silent(self, beats: Mapping[str, str], now: float) -> list[str]:
        """The replicas whose beat hasn't changed for so long that they are gone."""
        before, self._heard = self._heard, {}
        for replica, beat in beats.items():
            if replica != self._replica:
                same = replica in before and before[replica][0] == beat
                self._heard[replica] = before[replica] if same else (beat, now)
        return sorted(r for r, (_, since) in self._heard.items() if now - since > GONE_SECONDS)
