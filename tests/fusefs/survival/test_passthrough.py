"""`--passthrough` over deaths: readers in passthrough beside a writer, on a real bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.session.sessionlog import PASSTHROUGH, SessionLog
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

SIZE = 1 << 20


@pytest.fixture
def pod(base: Path, bucket: Bucket) -> Iterator[S3Pod]:
    """A pod with the option, and a file `f` of `x` in its bucket."""
    bucket.put("f", b"x" * SIZE)
    pod = S3Pod(base, bucket, passthrough=True)
    pod.start()
    yield pod
    pod.clean_up()


def in_passthrough(pod: S3Pod) -> int:
    """Return how many handles the journal says are read by the kernel."""
    files = SessionLog.read(pod.cache() / "session.log").files.values()
    return sum(bool(file.flags & PASSTHROUGH) for file in files)


def read_by_kernel(pod: S3Pod, application: Application) -> None:
    """Have `r` opened, once all of the file is on the disk."""
    for _ in range(100):
        application.do(f"len(open('{pod.root}/f', 'rb').read())")
        assert application.do(f"bool(r := open('{pod.root}/f', 'rb', buffering=0))") == "True"
        if in_passthrough(pod):
            return
        application.do("r.close()")
        time.sleep(0.05)
    pytest.skip("this kernel or disk has no passthrough")


def kill(pod: S3Pod) -> None:
    """End the worker; nobody serves until the next one is started."""
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)


def test_reader_and_writer_go_on_over_kills(
    application: Application, pod: S3Pod, bucket: Bucket
) -> None:
    """The worker dies, then the keeper, then the worker: each keeps its content to the byte."""
    root = pod.root
    application.do("(import_ := __import__('os'))")
    read_by_kernel(pod, application)
    whole = f"import_.pread(r.fileno(), {2 * SIZE}, 0) == b'x' * {SIZE}"
    size = "import_.fstat(r.fileno()).st_size"
    assert application.do(f"(w := open('{root}/f', 'r+b', buffering=0)).write(b'yy')") == "2"
    assert application.do("w.seek(0, 2), w.write(b'tail')") == f"({SIZE}, 4)"
    kill(pod)
    assert application.do(whole) == "True"
    pod.start_worker()
    assert application.do(f"{whole}, {size}") == f"(True, {SIZE})"
    assert application.do("import_.pread(w.fileno(), 3, 0)") == "b'yyx'"
    assert application.do("import_.pwrite(w.fileno(), b'z', 1)") == "1"
    assert application.do(f"open('{root}/f', 'rb').read(3)") == "b'yzx'"
    pod.kill_keeper()
    assert application.do(whole) == "True"
    pod.wait_for_log("took the mount back")
    assert application.do("w.close()") == "None"
    assert bucket.get("f") == b"yz" + b"x" * (SIZE - 2) + b"tail"
    kill(pod)
    pod.start_worker()
    assert application.do(f"{whole}, {size}") == f"(True, {SIZE})"
    assert application.do(f"len(open('{root}/f', 'rb').read())") == str(SIZE + 4)
    assert application.do("r.close()") == "None"


def test_what_the_kernel_reads_is_not_evicted_by_the_next_worker(
    application: Application, base: Path, bucket: Bucket
) -> None:
    """It has the file open for a writer, and the cache is too small for what is written."""
    size = 3 << 20
    bucket.put("f", b"x" * size)
    pod = S3Pod(base, bucket, passthrough=True, cacheSize="8Mi")
    try:
        pod.start()
        application.do("(import_ := __import__('os'))")
        read_by_kernel(pod, application)
        kill(pod)
        pod.start_worker()
        assert application.do(f"(w := open('{pod.root}/f', 'r+b', buffering=0)).read(2)") == "b'xx'"
        written = f"(o := open('{pod.root}/other', 'wb')).write(bytes({2 * size}))"
        assert application.do(written) == str(2 * size)
        whole = f"import_.pread(r.fileno(), {2 * size}, 0) == b'x' * {size}"
        assert application.do(whole) == "True"
    finally:
        pod.clean_up()
