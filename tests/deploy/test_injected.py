"""The webhook's own result before the guards: what one makes, the others have to let pass."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.guards import IMAGE, created, guards
from tests.deploy.rendered import manifests
from tests.webhook import neighbours

ROOT = Path(__file__).parents[2]
# Pods as versions before this one write them; a version that is released adds its own.
RELEASED = sorted((Path(__file__).parent / "released").glob("*.yaml"))


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


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_what_a_released_version_injects_passes_the_guards(path):
    """In a rolling upgrade its replicas go on while the guards are the new version's already.

    And a second review by this version writes the sidecars anew.
    """
    (pod,) = yaml.safe_load_all(path.read_text())
    images = {c["image"] for c in pod["spec"]["initContainers"]}
    assert guards(created(pod, images=tuple(images))) == []
    assert guards(created(neighbours.run(pod), images=("s3mount:0.1.0",))) == []


def test_the_guards_are_part_of_the_installation():
    """One command installs everything."""
    assert "ValidatingAdmissionPolicy" in {m["kind"] for m in manifests()}
