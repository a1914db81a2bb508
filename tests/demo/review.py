"""Plays the API server: sends an AdmissionReview over TLS and applies the patch that comes back.

Sources: admission.k8s.io/v1 and RFC 6902.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch

Pod = dict[str, Any]


@dataclass(frozen=True)
class Review:
    """The webhook's answer to one pod."""

    allowed: bool
    message: str
    warnings: tuple[str, ...]
    operations: tuple[str, ...]  # of the patch, as `add /spec/volumes`
    audit: Mapping[str, str]
    pod: Pod  # as it would be stored


def ask(url: str, ca: Path, pod: Pod, namespace: str) -> Review:
    """Return what the webhook at `url`, certified by `ca`, makes of the creation of a pod."""
    body = json.dumps(_envelope(pod, namespace)).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 (our own URL)
    trust = ssl.create_default_context(cafile=str(ca))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        response = json.load(answer)["response"]
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    return Review(
        allowed=response["allowed"],
        message=response.get("status", {}).get("message", ""),
        warnings=tuple(response.get("warnings", ())),
        operations=tuple(f"{step['op']} {step['path']}" for step in patch),
        audit=response.get("auditAnnotations", {}),
        pod=jsonpatch.apply_patch(pod, patch),
    )


def _envelope(pod: Pod, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "9d1f6f4e-0000-4000-8000-00000000d340",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "object": pod,
            "dryRun": False,
        },
    }
