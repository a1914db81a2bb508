"""The guards as the manifests have them, and requests to put before them."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

from tests.deploy.cel import Request, denials
from tests.deploy.rendered import GUARDED, one
from tests.webhook import neighbours, reviews

IMAGE = "s3mount:0.1.0"
ANYBODY = ("system:authenticated", "s3mount:debugger", "debuggers")
LISTED = "s3mount:debuggers"
# As the webhook leaves it: keeper, worker, an init container and two containers of the user's.
POD: dict[str, Any] = neighbours.run(
    reviews.pod(
        reviews.BUCKET,
        initContainers=[{"name": "prepare", "image": "busybox"}],
        containers=[{"name": "app", "image": "app:1"}, {"name": "plain", "image": "busybox"}],
    )
)
KEEPER, WORKER, PREPARE = range(3)


def created(pod: dict[str, Any] = POD, images: Sequence[str] = (IMAGE,), **more: Any) -> Request:
    """The creation of a pod, while replicas announce these images."""
    params = {"data": {f"replica-{n}": image for n, image in enumerate(images)}}
    return Request("CREATE", copy.deepcopy(pod), params=params, **more)


def changed(change: str, **more: Any) -> Request:
    """The creation after a line of Python did something to the pod."""
    request = created(**more)
    spec, meta = request.object["spec"], request.object["metadata"]
    exec(change, {"spec": spec, "meta": meta, "init": spec["initContainers"]})  # noqa: S102 - ours
    return request


@cache
def policy(name: str) -> dict[str, Any]:
    """One policy; to be read only."""
    return one("ValidatingAdmissionPolicy", name, GUARDED)


def guard(name: str, request: Request) -> list[str]:
    """What one policy says."""
    return denials(policy(name), request)


def guards(request: Request) -> list[str]:
    """What all that look at created pods say."""
    return [
        text
        for name in ("s3mount-created-pods", "s3mount-reserved-names")
        for text in guard(name, request)
    ]
