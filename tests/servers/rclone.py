"""`rclone serve s3`: the degraded store, which ignores every precondition."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.servers.child import Child
from tests.servers.ports import free_ports
from tests.servers.program import program
from tests.servers.s3 import Credentials, Endpoint, StoreError

CREDENTIALS = Credentials("rclone-access-key", "rclone-secret-key")


class RcloneServer:
    """A running server over a temporary directory; use as a context manager."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"s3mount-test-{os.getpid()}-rclone-"))
        data = self.directory / "data"
        data.mkdir()
        (port,) = free_ports(1)
        self.endpoint = Endpoint(f"http://127.0.0.1:{port}", CREDENTIALS)
        keys = f"{CREDENTIALS.access_key},{CREDENTIALS.secret_key}"
        self._child = Child(
            [
                *(program("rclone"), "serve", "s3", data),
                *("--addr", f"127.0.0.1:{port}", "--auth-key", keys),
                *("--config", self.directory / "none.conf", "--vfs-cache-mode", "off"),
            ],
            self.directory / "log",
        )
        self._child.wait_until(self._answers, 30)

    def _answers(self) -> bool:
        try:
            self.endpoint.client().list_buckets()
        except StoreError:
            return False
        return True

    def __enter__(self) -> RcloneServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        shutil.rmtree(self.directory)
