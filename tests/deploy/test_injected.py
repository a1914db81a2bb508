"""The webhook's own result before the guards: what one makes, the others have to let pass."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.deploy.guards import IMAGE, created, guards
from tests.deploy.rendered import manifests

ROOT = Path(__file__).parents[2]


def test_what_the_webhook_injects_passes_the_guards():
    """The example pod, through the command line that shares the webhook's core."""
    pod = ROOT / "deploy" / "examples" / "pod.yaml"
    command = [sys.executable, "-m", "webhook", "inject", "-f", str(pod)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"S3MOUNT_IMAGE": IMAGE},
    )
    pods = [d for d in yaml.safe_load_all(done.stdout) if d["kind"] == "Pod"]
    assert pods
    for injected in pods:
        assert guards(created(injected)) == []


def test_the_guards_are_part_of_the_installation():
    """One command installs everything."""
    assert "ValidatingAdmissionPolicy" in {m["kind"] for m in manifests()}
