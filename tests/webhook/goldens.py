"""Golden pods: `pods/<case>.yaml` and what becomes of it, `.injected.yaml` or `.denied.txt`.

`python -m tests.webhook.goldens` writes the results anew; look at the diff before you commit it.
A case may begin with a document `case:` for its circumstances: namespace, labels,
environ, policy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webhook import problems
from webhook.parse.yamldocs import parse_documents, render_documents
from webhook.platform.nodekey import NodeKey
from webhook.platform.settings import read_platform
from webhook.pods import Pod, title
from webhook.policy.file import parse_policy
from webhook.policy.rules import Policy
from webhook.review import admission
from webhook.review.decision import Decider, Decision, Denied, Injected
from webhook.review.lookup import FixedFacts

DIRECTORY = Path(__file__).parent / "pods"
RESULTS = (".injected.yaml", ".denied.txt")


class StillKey(NodeKey):
    """A key that makes the same nonce each time."""

    def nonce(self) -> str:
        return "0123456789abcdef"


@dataclass(frozen=True)
class Case:
    """One golden case, read from its file."""

    path: Path
    pod: Pod
    namespace: str
    environ: dict[str, str]
    labels: dict[str, str] | None
    policy: Policy

    @property
    def decider(self) -> Decider:
        platform, told = read_platform(self.environ), FixedFacts(self.labels)
        return Decider(platform, lambda: self.policy, told, StillKey("k" * 32))

    def decide(self, pod: Pod | None = None) -> Decision:
        """The decision on the case's pod, or on another one in the same circumstances."""
        return self.decider.decide(self.pod if pod is None else pod, self.namespace)

    def result(self, suffix: str) -> Path:
        return self.path.with_name(self.path.stem + suffix)


def read(path: Path) -> Case:
    documents = parse_documents(path.read_text(), str(path))
    about: dict[str, Any] = documents.pop(0)["case"] if "case" in documents[0] else {}
    (pod,) = documents
    policy = parse_policy(render_documents([about.get("policy", {})]), str(path))
    namespace = about.get("namespace", "shop")
    return Case(path, pod, namespace, about.get("environ", {}), about.get("labels"), policy)


def cases() -> list[Path]:
    """The cases' own files, sorted."""
    return sorted(p for p in DIRECTORY.glob("*.yaml") if not p.name.endswith(RESULTS[0]))


def injected(case: Case, decision: Injected) -> Pod:
    return admission.apply(case.pod, decision.patch)


def rendered(case: Case) -> tuple[str, str]:
    """The suffix of the case's result and the text that belongs into it."""
    decision = case.decide()
    if isinstance(decision, Denied):
        name = title(case.pod, case.namespace)
        return RESULTS[1], problems.message(name, decision.problems) + "\n"
    pod = injected(case, decision) if isinstance(decision, Injected) else case.pod
    remarks = "".join(f"# warning: {warning}\n" for warning in decision.warnings)
    return RESULTS[0], remarks + render_documents([pod])


def write() -> None:
    """Write every result anew and delete those that belong to no case."""
    for suffix in RESULTS:
        for path in DIRECTORY.glob("*" + suffix):
            path.unlink()
    for path in cases():
        case = read(path)
        suffix, text = rendered(case)
        case.result(suffix).write_text(text)


if __name__ == "__main__":
    write()
