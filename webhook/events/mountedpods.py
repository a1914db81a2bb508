"""Pods with buckets, as the API server shows them: the few fields that events are made of.

Whoever may create pods chooses much of what is in them: types are checked, texts are cut. Pure
functions.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webhook.injected import CONFIG, KEEPER, METRICS, WORKER, configured_mounts
from webhook.serve.cluster import Form, Malformed, part

_LONGEST = 700
# So many mounts of a pod are looked at: whoever writes a pod could name thousands.
MOST_MOUNTS = 64
# A page of pods is read as a whole; they are up to some 20 KiB each.
_PAGE = 100


@dataclass(frozen=True)
class End:
    """A failed end of a container of ours: when, and why as far as it said."""

    container: str
    finished: str
    at: float
    why: str


@dataclass(frozen=True)
class MountedPod:
    """One pod; `port` is None where its worker serves no metrics, `ip` is empty before it runs."""

    namespace: str
    name: str
    uid: str
    ip: str
    port: int | None
    mounts: tuple[str, ...]
    ends: tuple[End, ...]


def _kept(item: dict[str, Any]) -> MountedPod | None:
    """Return a pod with buckets; None for any other, and for what can't be one."""
    try:
        return _mounted(item)
    except Malformed:
        return None


def _mounted(item: dict[str, Any]) -> MountedPod | None:
    spec = part(item, "spec", dict)
    sidecars = [each for each in part(spec, "initContainers", list) if isinstance(each, dict)]
    worker = next((each for each in sidecars if each.get("name") == WORKER), None)
    if worker is None:
        return None
    metadata, status = part(item, "metadata", dict), part(item, "status", dict)
    namespace, name, uid = (str(metadata.get(key) or "") for key in ("namespace", "name", "uid"))
    running = status.get("phase") in ("Running", "Pending")
    ending = not running or bool(metadata.get("deletionTimestamp"))
    return MountedPod(
        namespace,
        name,
        uid,
        str(status.get("podIP") or "") if running else "",
        _port(worker),
        _mounts(worker),
        tuple(_ends(status, ending=ending)),
    )


PODS = Form("application/json", "application/json", _PAGE, _kept)


def _port(worker: dict[str, Any]) -> int | None:
    for each in part(worker, "ports", list):
        if isinstance(each, dict) and each.get("name") == METRICS:
            found = each.get("containerPort")
            return found if isinstance(found, int) else None
    return None


def _mounts(worker: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the mounts, as the webhook wrote them."""
    for each in part(worker, "env", list):
        if isinstance(each, dict) and each.get("name") == CONFIG:
            try:
                mounts = configured_mounts(str(each.get("value")))
                return tuple(str(mount["name"]) for mount in mounts)[:MOST_MOUNTS]
            except (ValueError, TypeError, KeyError, RecursionError):
                return ()
    return ()


def _ends(status: dict[str, Any], *, ending: bool) -> Iterator[End]:
    """Yield failed ends. In a pod that ends, sidecars are ended, too: unless one says why."""
    for each in part(status, "initContainerStatuses", list):
        if not isinstance(each, dict) or each.get("name") not in (KEEPER, WORKER):
            continue
        states = (part(each, key, dict) for key in ("state", "lastState"))
        ended = next(filter(None, (part(state, "terminated", dict) for state in states)), None)
        if ended and ended.get("exitCode"):
            reason, written = _reason(str(ended.get("message") or ""))
            if written or not ending:
                yield _end(str(each["name"]), ended, reason)


def _end(container: str, ended: dict[str, Any], reason: str) -> End:
    finished = str(ended.get("finishedAt") or "")
    code = f"exit code {ended.get('exitCode')}, {ended.get('reason') or 'no reason given'}"
    return End(container, finished, _time(finished), printable(reason)[-_LONGEST:] or code)


def _reason(message: str) -> tuple[str, bool]:
    """Return why a container ended, and whether it wrote that itself: else its log ends so."""
    lines = message.strip().splitlines()
    if not lines:
        return "", False
    try:
        last = json.loads(lines[-1])
        return ": ".join(str(last[key]) for key in ("event", "error") if key in last), False
    except (ValueError, TypeError, RecursionError):
        return message, True


def _time(text: str) -> float:
    """Return Unix time; 0 for none, which a kubelet writes of a container that it lost sight of."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def printable(text: str) -> str:
    """Return a text on one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
