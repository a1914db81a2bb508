"""Writes events to the API server: the same one once, with a count, and not too many of them.

An event is one of a pod, a reason and what it is about (a mount or a container). The first is
written at once, later ones raise its count at most once a minute. All of them share a budget, so
that a store that fails for a thousand pods costs the API server little; what had to wait is written
later, and counted. Main thread.

Sources: Kubernetes API reference, "Event v1 core"; API servers forget an event after an hour
(`--event-ttl`).
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from webhook.events.findings import Finding
from webhook.events.mountedpods import MountedPod
from webhook.serve.log import Logger

PAUSE = 60.0  # seconds between two writes of one event
BURST, PER_SECOND = 50, 1.0
# An event that an API server may have forgotten is written anew.
_FORGOTTEN = 3000.0
_LONGEST = 1024  # of a message, as in events.k8s.io
_LONGEST_NAME = 253
_SOURCE = "s3mount"


class Sending(Protocol):
    """The one request of a recorder; tests have an implementation of their own."""

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> int:
        """Return the status of the answer; OSError for no answer."""


@dataclass
class _Told:
    """One event: what is to be written, and what was."""

    pod: MountedPod
    finding: Finding
    waiting: int
    first: float
    name: str = ""
    count: int = 0
    written: float = float("-inf")


class Recorder:
    """The events of all pods."""

    def __init__(self, api: Sending, log: Logger, clock: Callable[[], float] = time.time) -> None:
        self._api, self._log, self._clock = api, log, clock
        self._events: dict[tuple[str, str, str], _Told] = {}
        self._budget, self._filled = float(BURST), clock()

    def note(self, pod: MountedPod, finding: Finding) -> None:
        """Have an event written at the next `flush`."""
        key = (pod.uid, finding.reason, finding.about)
        told = self._events.get(key)
        if told is None:
            self._events[key] = _Told(pod, finding, finding.times, self._clock())
        else:
            told.finding, told.waiting = finding, told.waiting + finding.times

    def forget(self, alive: Iterable[str]) -> None:
        """Drop what is known of pods that aren't among these (uids)."""
        there = set(alive)
        self._events = {key: told for key, told in self._events.items() if key[0] in there}

    def flush(self) -> None:
        """Write what is due, as far as the budget goes."""
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._filled) * PER_SECOND)
        self._filled = now
        for told in self._events.values():
            if told.waiting and now - told.written >= PAUSE:
                if self._budget < 1:
                    return
                self._budget -= 1
                if not self._write(told, now):
                    return

    def _write(self, told: _Told, now: float) -> bool:
        """Write one event; False if the API server can't be reached now."""
        path = f"/api/v1/namespaces/{told.pod.namespace}/events"
        try:
            status = 404
            if told.name and now - told.first < _FORGOTTEN:
                change = _changing(told, now)
                status = self._api.send("PATCH", f"{path}/{told.name}", change)
            if status == 404:
                _begin(told, now)
                status = self._api.send("POST", path, _object(told, now))
        except OSError as error:
            self._log.warning("events wait for the API server", reason=str(error))
            return False
        if status >= 300:
            self._log.warning("event refused", status=status, pod=told.pod.name, path=path)
            told.name = ""
        # Refused is refused: the namespace or the pod is going, or we lack the right.
        told.count, told.waiting, told.written = told.count + told.waiting, 0, now
        return True


def _begin(told: _Told, now: float) -> None:
    suffix = f".{secrets.token_hex(8)}"
    told.name = told.pod.name[: _LONGEST_NAME - len(suffix)].rstrip(".-") + suffix
    told.first, told.count = now, 0


def _object(told: _Told, now: float) -> dict[str, Any]:
    pod, finding = told.pod, told.finding
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": told.name, "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "fieldPath": f"spec.initContainers{{{finding.container}}}",
        },
        "type": "Warning",
        "reason": finding.reason,
        "firstTimestamp": _stamp(told.first),
        "source": {"component": _SOURCE},
        "reportingComponent": _SOURCE,
        "reportingInstance": "",
        **_changing(told, now),
    }


def _changing(told: _Told, now: float) -> dict[str, Any]:
    return {
        "message": told.finding.message[:_LONGEST],
        "count": told.count + told.waiting,
        "lastTimestamp": _stamp(now),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
