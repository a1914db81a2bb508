"""AdmissionReviews as the API server sends them, and pods to put into them."""

import base64
import json
from typing import Any

BUCKET = {"s3.mount/bucket": "my-bucket", "s3.mount/secret": "my-credentials"}


def pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod with one container, annotated to mount a bucket unless told otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": BUCKET if annotations is None else annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec},
    }


def review(of: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    """A review of the creation of a pod; further arguments replace fields of the request."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "f0a1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "shop",
            "object": pod() if of is None else of,
            **request,
        },
    }


def body(of: dict[str, Any] | None = None, **request: Any) -> bytes:
    """The same as bytes."""
    return json.dumps(review(of, **request)).encode()


def response(answer: bytes) -> dict[str, Any]:
    """The response in an answer."""
    found: dict[str, Any] = json.loads(answer)["response"]
    return found


def patch(answer: bytes) -> list[dict[str, Any]]:
    """The decoded patch in an answer."""
    found: list[dict[str, Any]] = json.loads(base64.b64decode(response(answer)["patch"]))
    return found
