"""The offline commands: the same core as the server's, on manifests instead of reviews.

Documents go to stdout, what there is to say about them to stderr. Exit codes: 0 all is well, 1 a
pod was denied, 2 the command itself was wrong.
"""

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from webhook import admission, problems, workloads
from webhook.decision import Decider, Decision, Denied, Injected
from webhook.documents import parse_documents, read_text, render_documents
from webhook.pods import Pod


@dataclass(frozen=True)
class Reviewed:
    """One object of a file, its pod, if it has one, and what was decided."""

    document: Any
    namespace: str
    pod: Pod | None
    decision: Decision | None


def review_file(path: str, namespace: str, decider: Decider) -> Iterator[Reviewed]:
    """Every object of a file with its decision; DocumentError when the file can't be read."""
    for document in workloads.flattened(parse_documents(read_text(path), path)):
        where = workloads.namespace_of(document, namespace)
        pod = workloads.pod_of(document)
        decision = None if pod is None else decider.decide(pod, where)
        yield Reviewed(document, where, pod, decision)


def inject(
    path: str, namespace: str, decider: Decider, out: TextIO = sys.stdout, err: TextIO = sys.stderr
) -> int:
    """Print the objects as they would run."""
    results = list(review_file(path, namespace, decider))
    denied = [r for r in results if isinstance(r.decision, Denied)]
    for result in denied:
        _tell_denial(result, err)
    if denied:
        return 1
    out.write(render_documents(_injected(result) for result in results))
    return 0


def _injected(result: Reviewed) -> Any:
    if result.pod is None or not isinstance(result.decision, Injected):
        return result.document
    pod = admission.apply(copy.deepcopy(result.pod), result.decision.patch)
    return workloads.with_pod(result.document, pod)


def _tell_denial(result: Reviewed, err: TextIO) -> None:
    if isinstance(result.decision, Denied):
        name = f"{result.namespace}/{workloads.label(result.document)}"
        print(problems.message(name, result.decision.problems), file=err)
