"""Kill -9 of worker, keeper, or one after the other: the application sees no error."""

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Callable

import pytest

from fusefs.kernel import mounting
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount

MIB = 1 << 20
# One kill for each; `make soak` has them two hundred times.
KILLS = [pytest.param(3), pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]


def kill_while(pod: Pod, work: str, kills: int, kill: Callable[[], None]) -> str:
    """Run a shell script on the mount, kill at random moments meanwhile; return its output."""
    moments = random.Random(kills)
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", work],
        cwd=pod.bus / "one",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for _ in range(kills):
            time.sleep(moments.uniform(0.02, 0.4))
            kill()
            pod.wait_until_well()
        (pod.bus.parent / "enough").touch()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output + pod.log.read_text()
    return output


UNTIL_ENOUGH = 'until [ -e "../../enough" ]; do {}; done'


@pytest.mark.parametrize("kills", KILLS)
def test_sequential_reads_survive_kills_of_the_worker(pod: Pod, kills: int) -> None:
    """Every byte of every pass is right."""
    content = os.urandom(32 * MIB)
    (pod.bus / "one/f").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    step = "dd if=f iflag=direct bs=256K status=none | sha256sum"
    output = kill_while(pod, UNTIL_ENOUGH.format(step), kills, pod.kill_worker)
    assert set(output.split()) == {digest, "-"}


@pytest.mark.parametrize("kills", KILLS)
def test_appends_survive_kills_of_the_worker(pod: Pod, kills: int) -> None:
    """Each line is there once: a resent append isn't done twice."""
    step = "i=$((${i:-0}+1)); echo $i >> log; sync log"
    kill_while(pod, UNTIL_ENOUGH.format(step), kills, pod.kill_worker)
    lines = (pod.bus / "one/log").read_text().split()
    assert lines == [str(number + 1) for number in range(len(lines))] and lines


@pytest.mark.parametrize("kills", KILLS)
def test_names_survive_kills_of_the_worker(pod: Pod, kills: int) -> None:
    """mkdir, exclusive create, rename, symlink, unlink, rmdir: none is answered twice."""
    step = (
        "mkdir d; (set -C; echo x > d/f); mv d/f d/g; ln -s g d/l; mv d e; "
        "test \"$(ls e | tr '\\n' ' ')\" = \"g l \"; rm e/g e/l; rmdir e"
    )
    kill_while(pod, UNTIL_ENOUGH.format(step), kills, pod.kill_worker)
    assert list((pod.bus / "one").iterdir()) == []


@pytest.mark.parametrize("kills", KILLS)
def test_directory_streams_survive_kills_of_the_worker(pod: Pod, kills: int) -> None:
    """No entry twice, none lost, however the stream is cut."""
    for number in range(500):
        (pod.bus.parent / f"data/one/{number:03}").touch()
    output = kill_while(pod, UNTIL_ENOUGH.format("ls -U | sort | md5sum"), kills, pod.kill_worker)
    expected = "".join(f"{number:03}\n" for number in range(500)).encode()
    assert set(output.split()) == {hashlib.md5(expected).hexdigest(), "-"}  # noqa: S324 - no secret


@pytest.mark.parametrize("kills", KILLS)
def test_work_goes_on_while_the_keeper_is_killed(pod: Pod, kills: int) -> None:
    """The worker doesn't need it; the next keeper takes the descriptor back."""
    step = "i=$((${i:-0}+1)); echo $i >> log; cat log > /dev/null"
    kill_while(pod, UNTIL_ENOUGH.format(step), kills, pod.kill_keeper)
    pod.wait_for_log("took the mount back", 1)
    assert mounting.fuse_mounts()


@pytest.mark.parametrize("kills", KILLS)
def test_keeper_and_then_worker_within_a_second(pod: Pod, kills: int) -> None:
    """As soon as the new keeper has the descriptor, the worker may die."""
    turns = iter(range(1, kills + 2))

    def both() -> None:
        pod.kill_keeper()
        pod.wait_for_log("took the mount back", next(turns))
        pod.kill_worker()

    content = os.urandom(4 * MIB)
    (pod.bus / "one/f").write_bytes(content)
    step = "dd if=f iflag=direct bs=64K status=none | sha256sum"
    output = kill_while(pod, UNTIL_ENOUGH.format(step), kills, both)
    assert set(output.split()) == {hashlib.sha256(content).hexdigest(), "-"}


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
