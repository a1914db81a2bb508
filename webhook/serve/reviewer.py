"""One review from body to answer, with its log line and its metrics.

The only place of the package that handles bugs of our own. No web framework here. Runs on the event
loop's thread; takes about a millisecond and never waits.
"""

import time
from typing import Any

from webhook.problems import Problem
from webhook.review import admission
from webhook.review.admission import Request
from webhook.review.decision import Decider, Decision, Denied, Injected, Skipped
from webhook.review.warnings import Advice
from webhook.serve.log import Logger
from webhook.serve.metrics import Metrics

# Enough to find a value again, not enough to fill the log.
_LOGGED = 300
_LISTED = 20
_BUG = Problem(
    "s3mount",
    None,
    "has an error of its own and can't review this pod; the webhook's log has the details",
    "Tell the platform team",
)


class Reviewer:
    """Answers reviews."""

    def __init__(self, decider: Decider, metrics: Metrics, log: Logger) -> None:
        self._decider = decider
        self._metrics = metrics
        self._log = log

    def review(self, body: bytes) -> bytes:
        """Return the answer to a request's body; EnvelopeError if it isn't an AdmissionReview."""
        began = time.perf_counter()
        request = admission.parse(body)
        decision = self._decide(request)
        answer = admission.answer(request, decision)
        self._record(request, decision, time.perf_counter() - began)
        return answer

    def _decide(self, request: Request) -> Decision:
        try:
            return admission.decide(request, self._decider)
        except Exception:  # noqa: BLE001 - a pod we stumble over must be denied, with our name on it
            self._log.exception("review failed", uid=request.uid, namespace=request.namespace)
            return Denied((_BUG,), "bug")

    def _record(self, request: Request, decision: Decision, seconds: float) -> None:
        outcome, reason = _outcome(decision)
        self._metrics.reviewed(outcome, reason, seconds)
        fields = _fields(request) | {"decision": outcome, "ms": round(seconds * 1000, 2)}
        if isinstance(decision, Denied):
            fields["problems"] = [str(problem)[:_LOGGED] for problem in decision.problems[:_LISTED]]
        if isinstance(decision, Injected):
            fields["mounts"] = [f"{m.name}={m.source}" for m in decision.mounts]
            fields["rule"] = decision.rule
        if not isinstance(decision, Denied):
            self._record_warnings(decision.warnings, fields)
        report = self._log.debug if isinstance(decision, Skipped) else self._log.info
        report("review", reason=reason, **fields)

    def _record_warnings(self, warnings: tuple[Advice, ...], fields: dict[str, Any]) -> None:
        for warning in warnings:
            self._metrics.warned(warning.reason)
        if warnings:
            fields["warnings"] = sorted({warning.reason for warning in warnings})


def _outcome(decision: Decision) -> tuple[str, str]:
    match decision:
        case Skipped(skip):
            return "skipped", skip.reason
        case Denied(_, reason):
            return ("error" if reason == "bug" else "denied"), reason
        case Injected(patch):
            return ("injected" if patch else "unchanged"), ""


def _fields(request: Request) -> dict[str, Any]:
    """Return the log fields that identify the pod, never the pod itself."""
    fields = {"uid": request.uid, "namespace": request.namespace, "operation": request.operation}
    metadata = request.pod.get("metadata")
    if not isinstance(metadata, dict):
        return fields
    names = {key: metadata[key] for key in ("name", "generateName") if metadata.get(key)}
    fields |= {key: str(name)[:_LOGGED] for key, name in names.items()}
    owners = metadata.get("ownerReferences")
    if isinstance(owners, list) and owners and isinstance(owners[0], dict):
        fields["owner"] = f"{owners[0].get('kind')}/{owners[0].get('name')}"[:_LOGGED]
    return fields
