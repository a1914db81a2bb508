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
class _Event:
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
        self._events: dict[tuple[str, str, str], _Event] = {}
        self._budget, self._filled = float(BURST), clock()

    def note(self, pod: MountedPod, finding: Finding) -> None:
        """Have an event written at the next `flush`."""
        key = (pod.uid, finding.reason, finding.about)
        event = self._events.get(key)
        if event is None:
            self._events[key] = _Event(pod, finding, finding.times, self._clock())
        else:
            event.finding, event.waiting = finding, event.waiting + finding.times

    def forget(self, alive: Iterable[str]) -> None:
        """Drop what is known of pods that aren't among these (uids)."""
        there = set(alive)
        self._events = {key: event for key, event in self._events.items() if key[0] in there}

    def flush(self) -> None:
        """Write what is due, as far as the budget goes; what has waited longest comes first."""
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._filled) * PER_SECOND)
        self._filled = now
        due = [
            event
            for event in self._events.values()
            if event.waiting and now - event.written >= PAUSE
        ]
        for event in sorted(due, key=lambda event: event.written):
            if self._budget < 1:
                return
            self._budget -= 1
            if not self._write(event, now):
                return

    def _write(self, event: _Event, now: float) -> bool:
        """Write one event; False if the API server can't be reached now."""
        path = f"/api/v1/namespaces/{event.pod.namespace}/events"
        try:
            status = 404
            if event.name and now - event.first < _FORGOTTEN:
                change = _changing(event, now)
                status = self._api.send("PATCH", f"{path}/{event.name}", change)
            if status == 404:
                _begin(event, now)
                status = self._api.send("POST", path, _object(event, now))
        except OSError as error:
            self._log.warning("events wait for the API server", reason=str(error))
            return False
        if status >= 300:
            self._log.warning("event refused", status=status, pod=event.pod.name, path=path)
            event.name = ""
        # Refused is refused: the namespace or the pod is going, or we lack the right.
        event.count, event.waiting, event.written = event.count + event.waiting, 0, now
        return True


def _begin(event: _Event, now: float) -> None:
    suffix = f".{secrets.token_hex(8)}"
    event.name = event.pod.name[: _LONGEST_NAME - len(suffix)].rstrip(".-") + suffix
    event.first, event.count = now, 0


def _object(event: _Event, now: float) -> dict[str, Any]:
    pod, finding = event.pod, event.finding
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": pod.namespace},
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
        "firstTimestamp": _stamp(event.first),
        "source": {"component": _SOURCE},
        "reportingComponent": _SOURCE,
        "reportingInstance": "",
        **_changing(event, now),
    }


def _changing(event: _Event, now: float) -> dict[str, Any]:
    return {
        "message": event.finding.message[:_LONGEST],
        "count": event.count + event.waiting,
        "lastTimestamp": _stamp(now),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
