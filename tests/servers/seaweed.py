"""SeaweedFS: the complete S3 server most tests run against.

It has preconditions, multipart copy and user metadata. It rewrites `//` and backslashes in keys,
refuses `..`, and keeps no metadata of `name/`: tests of those use moto. Every part of it needs a
port of its own, gRPC ones included, or two servers on one machine collide.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from tests.servers.child import Child, ChildError
from tests.servers.ports import free_ports
from tests.servers.program import program
from tests.servers.s3 import Credentials, Endpoint, StoreError

CREDENTIALS = Credentials("weed-access-key", "weed-secret-key")
# A second identity, for tests in which the first one stops being accepted.
SUCCESSOR = Credentials("weed-second-key", "weed-second-secret")
_PARTS = ("master", "volume", "filer", "s3")
_ATTEMPTS = 3
_START_SECONDS = 60.0


class SeaweedServer:
    """A running server; use as a context manager.

    `volumes`: files that a bucket's objects are spread over, each with one writer at a time.
    `tls`: PEM files of a certificate and its key, to be reached by `encrypted`, too.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        volumes: int = 1,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self._tls = tls
        self._host = host
        self._volumes = volumes
        self.directory = Path(tempfile.mkdtemp(prefix=f"s3mount-test-{os.getpid()}-weed-"))
        (self.directory / "data").mkdir()
        (self.directory / "s3.json").write_text(json.dumps(_identities()))
        try:
            self._start()
        except BaseException:  # who is interrupted has nothing to stop yet
            self.stop()
            raise

    def _start(self) -> None:
        """Start it, with other ports when somebody was faster in taking one of ours."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._ports = free_ports(2 * len(_PARTS) + 1)
            self.endpoint = Endpoint(f"http://{self._host}:{self._ports[6]}", CREDENTIALS)
            self.encrypted = Endpoint(f"https://localhost:{self._ports[-1]}", CREDENTIALS)
            self._child = Child(
                self._command(), self.directory / "log", env=_environment(self._volumes)
            )
            try:
                self._child.wait_until(self._answers, _START_SECONDS)
            except ChildError:
                self._child.kill()
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _command(self) -> list[str | Path]:
        ports = [
            option
            for part, http, grpc in zip(_PARTS, self._ports[:-1:2], self._ports[1::2], strict=True)
            for option in (f"-{part}.port={http}", f"-{part}.port.grpc={grpc}")
        ]
        if self._tls is not None:
            certificate, key = self._tls
            ports += [f"-s3.port.https={self._ports[-1]}"]
            ports += [f"-s3.cert.file={certificate}", f"-s3.key.file={key}"]
        return [
            program("weed"),
            "-logtostderr",
            "server",
            f"-dir={self.directory / 'data'}",
            f"-ip={self._host}",
            f"-ip.bind={self._host}",
            *ports,
            "-filer",
            f"-filer.localSocket={self.directory / 'filer.sock'}",
            "-s3",
            f"-s3.config={self.directory / 's3.json'}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=2000",
            "-volume.minFreeSpace=1GiB",
        ]

    def _answers(self) -> bool:
        """Say whether a bucket can be made and an object written: open ports come much earlier."""
        try:
            bucket = self.endpoint.create_bucket(f"ready-{self._ports[0]}")
            bucket.put("ready", b"yes")
        except StoreError:
            return False
        bucket.destroy()
        return True

    def log(self) -> str:
        """Return all the server has said."""
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Kill it, its data being worth nothing, and remove what it leaves."""
        self._child.kill()
        shutil.rmtree(self.directory)
        for part, grpc in zip(_PARTS, self._ports[1::2], strict=True):
            # The one kind of socket it puts into /tmp without an option to say otherwise.
            Path(f"/tmp/seaweedfs-{part}-grpc-{grpc}.sock").unlink(missing_ok=True)

    def __enter__(self) -> SeaweedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _environment(volumes: int) -> dict[str, str]:
    # One volume for each new bucket in place of seven: many small buckets, little disk. And
    # memory is given back to the system, for there is a server in each test process.
    modest = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": f"{volumes}", "GOMEMLIMIT": "512MiB"}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | modest


def _identities() -> dict[str, object]:
    return {
        "identities": [
            {
                "name": who.access_key,
                "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }
            for who in (CREDENTIALS, SUCCESSOR)
        ]
    }
