"""A pod of the real thing: keeper and worker as in Kubernetes, a bucket behind the mount."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fusefs.survival.pod import Pod
from tests.mounts import switchedoff
from tests.servers.s3 import REGION, Bucket, Endpoint


class S3Pod(Pod):
    """One mount for each of `buckets` (or views), named by its place; caches are in `base`/cache.

    `endpoint` is another way to the store (a proxy), `drain_time` seconds for the uploads at the
    end. With `supervise` the worker's first process starts it again. `extra` goes into each mount's
    configuration.
    """

    def __init__(
        self,
        base: Path,
        *buckets: Bucket,
        endpoint: Endpoint | None = None,
        drain_time: int = 25,
        supervise: bool = False,
        **told: object,
    ) -> None:
        self.drain_time = drain_time
        self._supervise = supervise
        self.caches = base / "cache"
        self._buckets = {f"m{number}": bucket for number, bucket in enumerate(buckets)}
        self._endpoint = endpoint or buckets[0].endpoint
        super().__init__(base, tuple(self._buckets), **told)  # type: ignore[arg-type] # as they are
        self.environment |= self._endpoint.credentials.environment()
        self.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(base)}
        self.environment |= {"S3MOUNT_RUN_DIRECTORY": str(base / "run")}

    @property
    def root(self) -> Path:
        """The root of the first mount."""
        return self.bus / "m0"

    def cache(self, name: str = "m0") -> Path:
        """Return a mount's cache directory."""
        return self.caches / name

    def _mount(self, base: Path, name: str, extra: dict[str, object]) -> dict[str, object]:
        cache = self.cache(name)
        cache.mkdir(parents=True)
        os.chown(cache, self._uid, self._uid)
        return switchedoff.configured(
            {
                "name": name,
                "mountpoint": str(self.bus / name),
                "bucket": self._buckets[name].name,
                "prefix": self._buckets[name].prefix,
                "endpoint": self._endpoint.url,
                "region": REGION,
                "cacheDir": str(cache),
                **extra,
            }
        )

    def worker_command(self) -> list[str]:
        sockets = ["--socket", str(self.keeper_socket), "--status-socket", str(self.status_socket)]
        worker = [self.python, "-m", "fusefs", "worker", "--drain-time", str(self.drain_time)]
        return [*self._run_as, *worker, *(["--supervise"] if self._supervise else []), *sockets]
