"""Kill -9 of the worker while nothing but one open file counts; `test_loads` kills under load."""

import subprocess
import time

import pytest

from tests.fusefs.survival.application import Application
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount

MIB = 1 << 20


def test_an_open_file_goes_on_over_a_kill(pod: Pod, application: Application) -> None:
    """Reader and writer keep their descriptors and positions."""
    application.do(f"(f := open('{pod.bus}/one/f', 'w+b', buffering=0)).write(b'before ')")
    pod.kill_worker()
    assert application.do("f.write(b'after'), f.seek(0), f.read()") == "(5, 0, b'before after')"


def test_passthrough_files_stay_right_over_a_kill(pod: Pod, application: Application) -> None:
    """A reader in passthrough, then a kill, then a writer of the same file: no EIO for either."""
    pod.environment["WHOLE"] = "1"
    pod.kill_worker()
    pod.wait_until_well()
    file = pod.bus / "one/f"
    (pod.bus.parent / "data/one/f").write_bytes(b"x" * MIB)
    assert application.do(f"(f := open('{file}', 'rb')).read(1)") == "b'x'"
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    # Nobody serves now: the kernel reads.
    assert application.do("__import__('os').pread(f.fileno(), 3, 500_000)") == "b'xxx'"
    pod.start_worker()
    assert application.do(f"(w := open('{file}', 'r+b', buffering=0)).write(b'y')") == "1"
    assert application.do(f"open('{file}', 'rb').read(1)") == "b'y'"
    assert application.do(f"w.close() or open('{file}').read(2)") == "'yx'"


def test_the_wait_per_kill_is_short(pod: Pod) -> None:
    """A read that meets the kill is answered within two seconds."""
    (pod.bus / "one/f").write_bytes(b"x")
    began = time.monotonic()
    pod.kill_worker()
    subprocess.run(["cat", pod.bus / "one/f"], check=True, stdout=subprocess.DEVNULL, timeout=10)
    assert time.monotonic() - began < 2


def test_both_at_once_end_in_errors_not_in_a_hang(pod: Pod) -> None:
    """Nobody holds the connection any more; started again, both mount anew by themselves."""
    for process in (pod.worker, pod.keeper):
        assert process is not None
        process.kill()
    for process in (pod.worker, pod.keeper):
        assert process is not None
        process.wait(10)
    with pytest.raises(OSError, match="not connected"):
        (pod.bus / "one").stat()
    pod.start()
    (pod.bus / "one/f").write_text("again")
    assert (pod.bus / "one/f").read_text() == "again"
