"""Runs the demonstration: exit 0 if every step succeeded, 1 with the failed step's name if not."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.demo import scenes
from tests.demo.stage import Stage, StepFailedError
from tests.mounts.table import OWN_PREFIX, sweep
from tests.servers.seaweed import SeaweedServer


def main() -> int:
    """Show everything once and leave nothing behind."""
    sweep()
    stage = Stage()
    failure = None
    with tempfile.TemporaryDirectory(prefix=f"{OWN_PREFIX}{os.getpid()}-demo-") as directory:
        Path(directory).chmod(0o755)  # the worker isn't root
        try:
            _show(stage, Path(directory))
        except StepFailedError as error:
            failure = error
    return stage.close(failure)


def _show(stage: Stage, directory: Path) -> None:
    stage.scene("A store with a bucket")
    with stage.step("start an S3 server on this machine (SeaweedFS)"):
        server = SeaweedServer()
    with server:
        bucket = scenes.fill_bucket(stage, server.endpoint)
        stage.scene("The webhook")
        with scenes.webhook(stage, directory) as url:
            ca = directory / "tls/ca.crt"
            pod = scenes.injection(stage, url, ca, server.endpoint)
            scenes.denial(stage, url, ca, server.endpoint)
            scenes.warning(stage, url, ca, server.endpoint)
            scenes.refusal(stage, url, ca, server.endpoint)
        stage.scene("The pod's sidecars and what the application sees")
        if not scenes.can_mount():
            print("  /dev/fuse can't be opened here: the half that mounts is left out")
            return
        with scenes.mounted(stage, pod, directory, server.endpoint) as (kubelet, data):
            scenes.files(stage, data, bucket)
            scenes.metrics(stage, kubelet)
            scenes.survival(stage, kubelet, data, bucket)


if __name__ == "__main__":
    sys.exit(main())
