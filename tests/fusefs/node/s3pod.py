"""A pod of a node whose worker is the real one, with a bucket behind its mount."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.fusefs.node.kubelet import FakeKubelet, NodePod
from tests.mounts import switchedoff
from tests.servers.ports import free_ports
from tests.servers.s3 import REGION, Bucket, Endpoint


class SharingPod(NodePod):
    """One mount, `one`, of a bucket; it uses the cache of its node."""

    cache = "in-common"

    def __init__(
        self,
        kubelet: FakeKubelet,
        bucket: Bucket,
        endpoint: Endpoint,
        *,
        namespace: str = "team",
        cache: str | None = cache,
        **extra: object,
    ) -> None:
        self.namespace = namespace
        self.cache = cache
        self._bucket = bucket
        self._endpoint = endpoint
        self.metrics_port = free_ports(1)[0]
        super().__init__(kubelet, ("one",), **extra)
        self.environment |= endpoint.credentials.environment()
        self.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(self.bus.parent)}
        self.environment |= {"S3MOUNT_RUN_DIRECTORY": str(self.bus.parent / "run")}

    def _mount(self, base: Path, name: str, extra: dict[str, object]) -> dict[str, object]:
        cache = base / "cache"
        cache.mkdir()
        os.chown(cache, self._uid, self._uid)
        shared = {} if self.cache is None else {"nodeCache": str(base / f"in/cache-{name}.sock")}
        return switchedoff.configured(
            {
                "name": name,
                "mountpoint": str(self.bus / name),
                "bucket": self._bucket.name,
                "endpoint": self._endpoint.url,
                "region": REGION,
                "cacheDir": str(cache),
                **shared,
                **extra,
            }
        )

    def worker_command(self) -> list[str]:
        sockets = ["--socket", str(self.keeper_socket), "--status-socket", str(self.status_socket)]
        metrics = ["--metrics-port", str(self.metrics_port)]
        return [self.python, "-m", "fusefs", "worker", "--drain-time", "5", *metrics, *sockets]

    def reading(self, name: str) -> subprocess.Popen[str]:
        """Begin to read a file, in a program that prints the digest of its content."""
        script = (
            "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), "
            "'sha256').hexdigest())"
        )
        path = str(self.target() / name)
        return subprocess.Popen(
            [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True
        )

    def read(self, name: str) -> str:
        """Return the digest of a file's content."""
        return digest(self.reading(name))

    def count(self, metric: str) -> int:
        """Return one of the worker's metrics."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10
        ) as answer:
            text = answer.read().decode()
        found = re.search(rf"^s3mount_{metric}{{.*}} ([0-9.e+]+)$", text, re.MULTILINE)
        assert found, text
        return int(float(found[1]))


def digest(program: subprocess.Popen[str], timeout: float = 60) -> str:
    """Return what a reading program prints."""
    output, _ = program.communicate(timeout=timeout)
    assert program.returncode == 0
    return output.strip()
