"""AdmissionReview v1: bytes in, bytes out (admission.k8s.io/v1).

Parses the envelope only; a `Decider` makes the decision. jsonpatch applies a patch, so that the
command line shows exactly the API server's result. Stateless, any thread.
"""

import base64
import copy
import json
from dataclasses import dataclass
from typing import Any

import jsonpatch

from webhook import __version__, problems
from webhook.diff import Operation
from webhook.errors import EnvelopeError
from webhook.parse.jsontext import parse_json
from webhook.pod.equipment import Equipment
from webhook.pods import Pod, title
from webhook.review.decision import Decider, Decision, Denied, Injected, Skip, Skipped
from webhook.review.warnings import Advice
from webhook.spec.mountspec import MountSpec

API_VERSION = "admission.k8s.io/v1"
_UID = 200
# The API's limit is 63; a longer name isn't the API server's.
_NAMESPACE = 253
# The API server truncates warnings after 4096 characters in all.
SHOWN_WARNINGS = 10
# Nothing that is encoded can hold itself: all comes from JSON, or is made here.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True)
class Request:
    """The parts of an AdmissionReview request that are used here."""

    uid: str
    kind: str
    operation: str
    namespace: str
    subresource: str
    pod: Pod


def parse(body: bytes) -> Request:
    """Return the request of an AdmissionReview; EnvelopeError names a missing or wrong field."""
    review = parse_json(body)
    _expect(isinstance(review, dict), "the body is not a JSON object")
    _expect(review.get("kind") == "AdmissionReview", "kind is not AdmissionReview")
    _expect(review.get("apiVersion") == API_VERSION, f"apiVersion is not {API_VERSION}")
    request = review.get("request")
    _expect(isinstance(request, dict), "request is missing or not an object")
    uid = request.get("uid")
    _expect(isinstance(uid, str) and 0 < len(uid) <= _UID, "request.uid is missing or no text")
    kind = request.get("kind")
    _expect(isinstance(kind, dict), "request.kind is missing or not an object")
    return _request(uid, kind, request)


def _request(uid: str, kind: dict[str, Any], request: dict[str, Any]) -> Request:
    pod = request.get("object")
    operation = _text(request, "operation")
    _expect(pod is None or isinstance(pod, dict), "request.object is not an object")
    _expect(isinstance(pod, dict) or operation == "DELETE", "request.object is missing")
    _expect(
        isinstance((pod or {}).get("metadata") or {}, dict),
        "request.object.metadata is not an object",
    )
    namespace = _text(request, "namespace")
    _expect(len(namespace) <= _NAMESPACE, "request.namespace is longer than any")
    group, version = _text(kind, "group"), _text(kind, "version")
    return Request(
        uid=uid,
        kind=f"{group}/{version}/{_text(kind, 'kind')}".lstrip("/"),
        operation=operation,
        namespace=namespace,
        subresource=_text(request, "subResource"),
        pod=pod or {},
    )


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    _expect(value is None or isinstance(value, str), f"{key} is not text")
    return value or ""


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise EnvelopeError(f"not an AdmissionReview: {message}")


def decide(request: Request, decider: Decider) -> Decision:
    """Return the decision on a request; all but the creation of a pod are skipped."""
    if request.kind != "v1/Pod" or request.subresource:
        return Skipped(Skip.NOT_A_POD)
    if request.operation != "CREATE":
        return Skipped(Skip.NOT_CREATED)
    return decider.decide(request.pod, request.namespace)


def answer(request: Request, decision: Decision) -> bytes:
    """Return the AdmissionReview with a decision."""
    response: dict[str, Any] = {"uid": request.uid, "allowed": not isinstance(decision, Denied)}
    patched = ""
    audit = {"version": __version__}
    warnings: tuple[Advice, ...] = ()
    match decision:
        case Skipped(skip, warnings):
            audit |= {"decision": "skipped", "reason": skip.reason}
        case Denied(found, reason):
            text = problems.message(title(request.pod, request.namespace), found)
            response["status"] = {"code": 403, "reason": "Forbidden", "message": text}
            audit |= {"decision": "denied", "reason": reason}
        case Injected(patch, mounts, warnings, rule, equipment):
            audit |= {"decision": "injected", "mounts": _listed(mounts), "rule": rule}
            patched = _patch_text(patch, equipment)
    if warnings:
        response["warnings"] = [str(warning) for warning in warnings[:SHOWN_WARNINGS]]
    response["auditAnnotations"] = audit
    review = {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    return _with_patch(_encode(review).encode(), patched)


def _patch_text(patch: tuple[Operation, ...], equipment: Equipment) -> str:
    """Return a patch as JSON, empty if it is: most of its values are encoded already."""
    if not patch:
        return ""
    operations = (
        f'{{"op":"{each["op"]}","path":{_encode(each["path"])},'
        f'"value":{equipment.text(each["value"])}}}'
        for each in patch
    )
    return f"[{','.join(operations)}]"


def _with_patch(review: bytes, patch: str) -> bytes:
    """Return an encoded review with a patch: base64 needs no second encoding as JSON."""
    if not patch:
        return review
    encoded = base64.b64encode(patch.encode())
    # The response is the last member of the review, so both end here.
    return b'%b,"patchType":"JSONPatch","patch":"%b"}}' % (review[:-2], encoded)


def _listed(mounts: tuple[MountSpec, ...]) -> str:
    return " ".join(f"{mount.name}={mount.source}:{mount.path}" for mount in mounts)


def apply(pod: Pod, patch: tuple[Operation, ...]) -> Pod:
    """Return the pod with the patch applied; the given pod isn't changed."""
    # Its values are shared with other pods, and the pod is the caller's.
    applied: Pod = jsonpatch.apply_patch(pod, copy.deepcopy(list(patch)))
    return applied
