"""Pods with buckets as an API server returns them, made by the webhook itself."""

from typing import Any

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Injected

ENDED = "2026-01-02T03:04:05Z"
ENDED_AT = 1767323045.0


def mounted(name: str = "web-1", **status: Any) -> dict[str, Any]:
    """A running pod of the webhook's making, with further fields of its status."""
    given = reviews.pod()
    decision = Decider(Platform()).decide(given, "shop")
    assert isinstance(decision, Injected)
    pod = admission.apply(given, decision.patch)
    pod["metadata"] |= {"name": name, "namespace": "shop", "uid": f"uid-of-{name}"}
    pod["metadata"]["resourceVersion"] = "7"
    return pod | {"status": {"phase": "Running", "podIP": "10.0.0.7"} | status}


def ended(container: str, **fields: Any) -> dict[str, Any]:
    """The status of a container that failed and is restarted."""
    last = {"exitCode": 1, "reason": "Error", "finishedAt": ENDED} | fields
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {
        "name": container,
        "restartCount": 1,
        "state": waiting,
        "lastState": {"terminated": last},
    }
