"""Pods with buckets, as the API server shows them: the few fields that events are made of.

Whoever may create pods chooses much of what is in them: types are checked, texts are cut. Pure
functions.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webhook.serve.cluster import Form, Malformed, part

KEEPER, WORKER = "s3-mount-keeper", "s3-mount-worker"
_PORT, _CONFIG = "s3mount-metrics", "S3MOUNT_CONFIG"
_LONGEST = 700
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
    """Return a pod with buckets; None for any other."""
    spec = part(item, "spec", dict)
    sidecars = [each for each in part(spec, "initContainers", list) if isinstance(each, dict)]
    worker = next((each for each in sidecars if each.get("name") == WORKER), None)
    if worker is None:
        return None
    metadata, status = part(item, "metadata", dict), part(item, "status", dict)
    namespace, name, uid = (str(metadata.get(key) or "") for key in ("namespace", "name", "uid"))
    running = status.get("phase") == "Running" or status.get("phase") == "Pending"
    return MountedPod(
        namespace,
        name,
        uid,
        str(status.get("podIP") or "") if running else "",
        _port(worker),
        _mounts(worker),
        tuple(_ends(status)),
    )


PODS = Form("application/json", "application/json", _PAGE, _kept)


def _port(worker: dict[str, Any]) -> int | None:
    for each in part(worker, "ports", list):
        if isinstance(each, dict) and each.get("name") == _PORT:
            found = each.get("containerPort")
            return found if isinstance(found, int) else None
    return None


def _mounts(worker: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the mounts, as the webhook wrote them."""
    for each in part(worker, "env", list):
        if isinstance(each, dict) and each.get("name") == _CONFIG:
            try:
                # Kubernetes takes `$$` for a dollar.
                document = json.loads(str(each.get("value")).replace("$$", "$"))
                return tuple(str(mount["name"]) for mount in document["mounts"])
            except (ValueError, TypeError, KeyError, RecursionError):
                return ()
    return ()


def _ends(status: dict[str, Any]) -> list[End]:
    found = []
    for each in part(status, "initContainerStatuses", list):
        if not isinstance(each, dict) or each.get("name") not in (KEEPER, WORKER):
            continue
        states = (part(each, key, dict) for key in ("state", "lastState"))
        ended = next(filter(None, (part(state, "terminated", dict) for state in states)), None)
        if ended and ended.get("exitCode"):
            found.append(_end(str(each["name"]), ended))
    return found


def _end(container: str, ended: dict[str, Any]) -> End:
    finished = str(ended.get("finishedAt") or "")
    said = str(ended.get("message") or "").strip()
    code = f"exit code {ended.get('exitCode')}, {ended.get('reason') or 'no reason given'}"
    return End(container, finished, _time(finished), printable(said)[-_LONGEST:] or code)


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise Malformed("finishedAt in the API server's answer is no time") from error


def printable(text: str) -> str:
    """Return a text on one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
