"""A store, a bucket and a mount of it, for programs that know nothing of ours.

Used from one thread.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mounts.ours import Directories, OurMount
from tests.servers.s3 import Bucket, Credentials, Endpoint
from tests.servers.seaweed import SeaweedServer


@dataclass(frozen=True)
class Stand:
    """A server with a bucket; `folder` is for what a suite needs besides its mounts."""

    endpoint: Endpoint
    bucket: Bucket
    folder: Path


@contextmanager
def stand(url: str | None) -> Iterator[Stand]:
    """Start a server, or take the one at `url`; make a bucket. All of it is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foreign-")))
        folder.chmod(0o755)
        if url is None:
            endpoint = stack.enter_context(SeaweedServer()).endpoint
        else:
            keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
            endpoint = Endpoint(url, keys)
        bucket = endpoint.create_bucket(f"foreign-{os.getpid()}")
        stack.callback(bucket.destroy)
        yield Stand(endpoint, bucket, folder)


@contextmanager
def mounted(at: Stand, root: Path, driver: str, options: Sequence[str] = ()) -> Iterator[OurMount]:
    """Mount the bucket at `root/mnt`; in the end it must go as a user's does."""
    what = [*options, "--allow-other"]
    mount = OurMount(at.bucket.name, Directories(root), at.endpoint, driver, what)
    try:
        mount.wait_ready()
        yield mount
        mount.stop(60)
        for line in mount.complaints():
            print("the mount said:", line)
    finally:
        mount.release()


def replaced(at: Stand, name: str, script: str) -> str:
    """Put a script in front of a program of this machine; return the PATH that finds it.

    `PROGRAM` in the script stands for the one replaced.
    """
    folder = at.folder / "bin"
    folder.mkdir(exist_ok=True)
    found = shutil.which(name)
    assert found is not None
    (folder / name).write_text(script.replace("PROGRAM", found))
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
