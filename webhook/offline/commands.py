"""The offline commands: the server's core, on manifests instead of reviews.

Documents and tables go to stdout, warnings and denials to stderr. Exit codes: 0 success, 1 a pod
was denied, 2 wrong usage or input.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from webhook import problems
from webhook.offline import workloads
from webhook.parse.table import render_table
from webhook.parse.yamldocs import parse_documents, read_text, render_documents
from webhook.pods import Pod
from webhook.policy.rules import Grant, Policy, Rule
from webhook.policy.unmatched import unmatched
from webhook.review import admission
from webhook.review.decision import Decider, Decision, Denied, Injected, Skipped
from webhook.spec.annotations import DOMAIN, INJECTION


@dataclass(frozen=True)
class Reviewed:
    """One object of a file, its pod, if any, and the decision.

    `labels`: those of its namespace, None if unknown.
    """

    document: Any
    namespace: str
    pod: Pod | None
    decision: Decision | None
    labels: Mapping[str, str] | None = None

    @property
    def unseen(self) -> bool | None:
        """Whether the API server never sends the pod to the webhook; None if unknown."""
        if self.labels is None:
            return None
        return self.labels.get(INJECTION) != "enabled"

    @property
    def name(self) -> str:
        return f"{self.namespace}/{workloads.label(self.document)}"


@dataclass(frozen=True)
class Terminal:
    """The output of a command: results to `out`, remarks to `err`."""

    out: TextIO
    err: TextIO


def review_file(path: str, namespace: str, decider: Decider) -> Iterator[Reviewed]:
    """Yield every object of a file with its decision; DocumentError if it can't be read."""
    documents = list(workloads.flattened(parse_documents(read_text(path), path)))
    labels_of = workloads.namespace_labels(documents)
    for document in documents:
        where = workloads.namespace_of(document, namespace)
        pod = workloads.pod_of(document)
        decision = None if pod is None else decider.decide(pod, where)
        labels = labels_of.get(where, decider.lookup.labels(where))
        yield Reviewed(document, where, pod, decision, labels)


def inject(path: str, namespace: str, decider: Decider, terminal: Terminal) -> int:
    """Print the objects as they would run; nothing if one of them is denied."""
    results = list(review_file(path, namespace, decider))
    for result in results:
        _remark(result, terminal.err)
    if any(isinstance(result.decision, Denied) for result in results):
        return 1
    terminal.out.write(render_documents(_injected(result) for result in results))
    return 0


def _injected(result: Reviewed) -> Any:
    if result.pod is None or not isinstance(result.decision, Injected):
        return result.document
    pod = admission.apply(copy.deepcopy(result.pod), result.decision.patch)
    return workloads.with_pod(result.document, pod)


def _remark(result: Reviewed, err: TextIO) -> None:
    if workloads.misplaced(result.document, DOMAIN):
        key = f"{DOMAIN}… on its own metadata does nothing: it belongs on the pod template's"
        print(f"warning: {result.name}: {key}", file=err)
    if isinstance(result.decision, Injected) and result.unseen:
        label = f"the namespace has no label {INJECTION}=enabled"
        print(f"warning: {result.name}: {label}: the webhook never sees this pod", file=err)
    match result.decision:
        case Denied(found):
            print(problems.message(result.name, found), file=err)
        case Injected() | Skipped() as decision:
            for warning in decision.warnings:
                print(f"warning: {result.name}: {warning}", file=err)


def explain(path: str, namespace: str, decider: Decider, terminal: Terminal) -> int:
    """Print the decision about every object of a file, its reason, and the additions."""
    denied = False
    for result in review_file(path, namespace, decider):
        denied |= isinstance(result.decision, Denied)
        terminal.out.write(f"{result.name}: {_sentence(result.decision)}\n")
        if isinstance(result.decision, Injected):
            if result.unseen is None:
                needs = f"If the namespace {result.namespace} has the label {INJECTION}=enabled."
                terminal.out.write(f"  {needs}\n")
            terminal.out.write(_indented(_mount_table(result.decision)))
            terminal.out.write(_indented(_patch_table(result.decision)))
        _remark(result, terminal.err)
    return int(denied)


def _sentence(decision: Decision | None) -> str:
    match decision:
        case None:
            return "holds no pod"
        case Skipped(skip):
            return f"skipped ({skip.reason}). {skip.sentence}"
        case Denied(found, reason):
            return f"denied ({reason}), {len(found)} problem(s)"
        case Injected(patch):
            verb = "injected" if patch else "unchanged: has its mounts already"
            return f"{verb} (policy rule {decision.rule!r})"


def _mount_table(decision: Injected) -> str:
    rows = [
        (m.name, m.source, m.path, "read-only" if m.read_only else "read-write", m.secret or "none")
        for m in decision.mounts
    ]
    return render_table(("MOUNT", "BUCKET", "PATH", "ACCESS", "SECRET"), rows)


def _patch_table(decision: Injected) -> str:
    rows = [(op["op"], op["path"], _summary(op["value"])) for op in decision.patch]
    return render_table(("OPERATION", "WHERE", "WHAT"), rows) if rows else ""


def _summary(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_summary(item) for item in value)
    if isinstance(value, dict):
        return str(value.get("mountPath") or value.get("name") or "…")
    return problems.quoted(value) if isinstance(value, str) else str(value)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def check_policy(policy: Policy, terminal: Terminal) -> None:
    """Print a policy as a table, in the order of its rules, and warnings."""
    rows = [_rule_row(rule) for rule in (*policy.rules, policy.default)]
    terminal.out.write(render_table(("RULE", "NAMESPACES", "BUCKETS", "CREDENTIALS"), rows))
    warn_of_policy(policy, terminal)


def warn_of_policy(policy: Policy, terminal: Terminal) -> None:
    """Print a warning for each pattern of a policy that can never match."""
    for sentence in unmatched(policy):
        print(f"warning: {sentence}", file=terminal.err)


def _rule_row(rule: Rule) -> tuple[str, str, str, str]:
    labels = [f"{key}={value}" for key, value in rule.labels]
    buckets = ", ".join(map(_granted, rule.grants)) or "none"
    sources = ", ".join(sorted(rule.sources)) if rule.grants else "none"
    return rule.name, " ".join([*rule.namespaces, *labels]), buckets, sources


def _granted(grant: Grant) -> str:
    places = [f"{b}/{p}".rstrip("/") for b in grant.buckets for p in grant.prefixes]
    return " ".join(places) + (" (read-only)" if grant.read_only else "")
