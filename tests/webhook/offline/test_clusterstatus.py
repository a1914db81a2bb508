"""`webhook status` and `kubectl s3mount`, with a kubectl of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sources import REPOSITORY
from tests.webhook import goldens
from webhook.offline import plugin
from webhook.offline.clusterstatus import Kubectl, mounts
from webhook.review.decision import Injected

METRICS = """# HELP s3mount_well …
s3mount_well{mount="%(name)s"} %(well)d
s3mount_dirty_bytes{mount="%(name)s"} 2097152.0
s3mount_conflicts_total{mount="%(name)s"} %(conflicts)d
s3mount_store_requests_total{mount="%(name)s",operation="get_object",outcome="ok"} 7.0
"""
# Answers from files: pods.json for the list, by path for what is raw.
FAKE = """#!/usr/bin/env python3
import pathlib, sys
here = pathlib.Path(__file__).parent
if "--raw" in sys.argv:
    path = here / sys.argv[-1].replace("/", "_")
    if not path.exists():
        sys.exit("Error from server (Forbidden): pods is forbidden")
    print(path.read_text(), end="")
else:
    print((here / "pods.json").read_text())
"""


def injected(namespace: str, name: str) -> dict[str, Any]:
    """Return a pod with a bucket, as the API server has it."""
    for case in map(goldens.read, goldens.cases()):
        decision = case.decide()
        if isinstance(decision, Injected) and decision.patch:
            pod = goldens.injected(case, decision)
            pod["metadata"] |= {"namespace": namespace, "name": name}
            counts = [{"name": "s3-mount-worker", "restartCount": 2}]
            return pod | {"status": {"phase": "Running", "initContainerStatuses": counts}}
    raise AssertionError("no pod with a bucket among the goldens")


def worker(pod: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the worker's port and its first mount."""
    (found,) = (c for c in pod["spec"]["initContainers"] if c["name"] == "s3-mount-worker")
    (told,) = (each for each in found["env"] if each["name"] == "S3MOUNT_CONFIG")
    return found["ports"][0]["containerPort"], json.loads(told["value"])["mounts"][0]


@pytest.fixture
def kubectl(tmp_path: Path) -> Path:
    """A cluster of three pods: one well, one not, one without a bucket."""
    program = tmp_path / "kubectl"
    program.write_text(FAKE)
    program.chmod(0o755)
    pods = [injected("a", "good"), injected("b", "bad"), injected("c", "closed")]
    port, mount = worker(pods[0])
    other = {"metadata": {"namespace": "a", "name": "x"}, "spec": {"containers": []}}
    (tmp_path / "pods.json").write_text(json.dumps({"items": [*pods, other]}))
    for namespace, name, well in (("a", "good", 1), ("b", "bad", 0)):
        path = f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics"
        told = METRICS % {"name": mount["name"], "well": well, "conflicts": 0}
        (tmp_path / path.replace("/", "_")).write_text(told)
    return program


def test_all_mounts_of_a_cluster_are_found(kubectl: Path) -> None:
    """With bucket, health and what isn't in the store; a pod out of reach keeps its row."""
    found = {each.pod: each for each in mounts(Kubectl(str(kubectl)), None)}
    assert {name: each.state for name, each in found.items()} == {
        "good": "well",
        "bad": "not well",
        "closed": "Running, no metrics",
    }
    assert found["good"].values["dirty_bytes"] == 2097152
    assert found["good"].bucket.startswith(worker(injected("a", "good"))[1]["bucket"] + "/")
    assert found["good"].restarts == 2


def status(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "webhook", "status", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_a_table(kubectl: Path) -> None:
    """And ends with 1 while some mount isn't well."""
    done = status("--kubectl", str(kubectl))
    assert done.returncode == 1, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:4] == ["NAMESPACE", "POD", "MOUNT", "BUCKET"]
    assert [row.split()[1] for row in rows] == ["good", "bad", "closed"]


def test_what_kubectl_complains_of_is_told(tmp_path: Path) -> None:
    """In one line, with exit code 2."""
    done = status("--kubectl", str(tmp_path / "absent"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "absent" in done.stderr


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (
            ["pod-1", "fsck"],
            ["pod-1", "-c", "s3-mount-worker", "--", "python", "-m", "fusefs", "fsck"],
        ),
        (["logs", "-n", "a", "pod-1", "-f"], ["-n", "a", "-c", "s3-mount-worker", "pod-1", "-f"]),
        (["status", "--json"], ["-m", "webhook", "status", "--json"]),
        (["-n", "a", "status"], ["-m", "webhook", "status", "-n", "a"]),
        (
            ["pod-1", "status"],
            ["pod-1", "-c", "s3-mount-worker", "--", "python", "-m", "fusefs", "status"],
        ),
    ],
)
def test_the_plugin_leads_to_the_pod_or_the_cluster(words: list[str], end: list[str]) -> None:
    """`kubectl s3mount POD …` runs fusefs in the worker, `status` and `logs` are the cluster's."""
    assert plugin.command(words)[-len(end) :] == end


@pytest.mark.parametrize("words", [[], ["pod-1"], ["--help"], ["-n", "a"]])
def test_the_plugin_says_how_it_is_used(words: list[str]) -> None:
    """Where nothing sensible was said."""
    assert plugin.command(words) == []


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """kubectl writes each of its attempts; the last line says what came of them."""
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho attempt >&2; echo The connection was refused >&2; exit 1\n")
    program.chmod(0o755)
    done = status("--kubectl", str(program), "--kubeconfig", "/nowhere")
    assert (done.returncode, done.stderr) == (2, "webhook: The connection was refused\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["--help"], 0, plugin.USAGE), (["pod-1", "fsck"], 1, "kubectl isn't on PATH\n")],
)
def test_the_plugin_by_itself_helps(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    """Asked for help, and where there is no kubectl."""
    script = "from webhook.offline.plugin import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (code, said)


def test_kubectl_finds_the_plugin(tmp_path: Path) -> None:
    """By the name of a program on PATH, which the package installs."""
    program = tmp_path / "kubectl-s3mount"
    program.write_text(f"#!{sys.executable}\nfrom webhook.offline.plugin import entry\nentry()\n")
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        ["kubectl", "s3mount"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, plugin.USAGE)
