"""From the command line to the last upload: starting, failing to start, ending, coming back."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.mount import REPOSITORY
from tests.mounts.ours import OurMount
from tests.proxy.faults import Status
from tests.proxy.proxy import Proxy
from tests.servers.ports import free_ports
from tests.servers.s3 import Bucket, Credentials, Endpoint


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    """Say whether it holds within this time."""
    deadline = monotonic() + seconds
    while not holds():
        if monotonic() > deadline:
            return False
        sleep(0.1)
    return True


def fails_to_start(mounts: Mounts, bucket: Bucket, endpoint: Endpoint) -> str:
    """Return the one line a mount says that can't start; it has to say it within 10 seconds.

    Before it stands the version alone, of each process.
    """
    mount = mounts(bucket, endpoint=endpoint, ready=False)
    mount.expected.append(".")
    assert mount.child.wait(10) not in (0, None)
    assert not mount.is_mounted()
    *versions, line = mount.said().splitlines()
    assert all('"s3mount ' in each for each in versions)  # one for each process
    secret = endpoint.credentials.secret_key
    assert not secret or secret not in line
    return line


def test_a_wrong_bucket(mounts: Mounts, bucket: Bucket) -> None:
    """One line that names it."""
    wrong = replace(bucket, name="no-such-bucket-here")
    assert "no-such-bucket-here" in fails_to_start(mounts, wrong, bucket.endpoint)


@pytest.mark.parametrize("part", ["access_key", "secret_key"])
def test_wrong_credentials(mounts: Mounts, bucket: Bucket, part: str) -> None:
    """One line that speaks of credentials, without showing them."""
    keys = replace(bucket.endpoint.credentials, **{part: "wrong-thing-0123456789"})
    line = fails_to_start(mounts, bucket, replace(bucket.endpoint, credentials=keys))
    assert "credential" in line.lower() or "access" in line.lower()


def test_no_credentials(mounts: Mounts, bucket: Bucket) -> None:
    """One line here too: none found is no reason to wait or to go on without."""
    none = Credentials("", "")
    line = fails_to_start(mounts, bucket, replace(bucket.endpoint, credentials=none))
    assert "credential" in line.lower()


def test_nobody_listens(mounts: Mounts, bucket: Bucket) -> None:
    """One line that names the endpoint."""
    (port,) = free_ports(1)
    nowhere = replace(bucket.endpoint, url=f"http://127.0.0.1:{port}")
    assert str(port) in fails_to_start(mounts, bucket, nowhere)


def test_a_host_that_does_not_exist(mounts: Mounts, bucket: Bucket) -> None:
    """A name that never resolves (RFC 6761)."""
    nowhere = replace(bucket.endpoint, url="http://s3.invalid")
    assert "s3.invalid" in fails_to_start(mounts, bucket, nowhere)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(mount: OurMount, number: signal.Signals) -> None:
    """Unmounted, exit 0."""
    (mount.path / "f").write_bytes(b"x")
    mount.child.signal(number)
    assert mount.child.wait(20) == 0
    assert not mount.is_mounted()


def test_under_nohup_a_hangup_is_ignored(mounts: Mounts, bucket: Bucket) -> None:
    """Whoever starts it with nohup can log out: the mount stays, and ends with SIGTERM."""
    mount = mounts(bucket, launcher=["nohup"])
    mount.child.signal(signal.SIGHUP)
    sleep(0.3)
    assert mount.child.returncode is None
    (mount.path / "f").write_bytes(b"x")
    assert mount.stop() == 0


def test_a_signal_while_no_keeper_runs(mounts: Mounts, bucket: Bucket, driver: str) -> None:
    """It was killed a moment ago: nothing stays mounted."""
    if driver != "native":
        pytest.skip("only the native driver has a keeper")
    mount = mounts(bucket)
    mount.expected += ["a process ended", "a keeper left", "the keeper doesn't know yet"]
    keeper = part(mount, b"keeper")
    mount.child.signal(signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    mount.child.signal(signal.SIGTERM)
    mount.child.signal(signal.SIGCONT)
    assert mount.child.wait(20) == 0, mount.said()
    assert not mount.is_mounted()


HOLD = """
import os, sys, time
for path in sys.argv[1:]:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x" * 100_000, 0)
    os.pwrite(fd, b"end", 12_000_000)
print("written", flush=True)
time.sleep(600)
"""


Holder = Callable[..., None]


@pytest.fixture
def holder() -> Iterator[Holder]:
    """Start programs that hold dirty files open."""
    held: list[subprocess.Popen[str]] = []

    def start(*paths: Path) -> None:
        command = [sys.executable, "-c", HOLD, *map(str, paths)]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        held.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "written\n"

    yield start
    for program in held:
        program.kill()
        program.communicate(timeout=10)


def test_more_changed_files_than_a_process_has_open_by_default(
    mounts: Mounts, bucket: Bucket
) -> None:
    """Each takes two descriptors: the soft limit, usually 1024, is raised to what is allowed."""
    mount = mounts(bucket, launcher=["sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh"])
    with ExitStack() as stack:
        for number in range(100):
            file = stack.enter_context((mount.path / f"f{number}").open("wb", buffering=0))
            file.write(b"x")
    assert len(bucket.keys()) == 100


def test_sigterm_uploads_what_is_dirty(mount: OurMount, bucket: Bucket, holder: Holder) -> None:
    """Files a program has written and not closed are in the store when the daemon has ended."""
    holder(*(mount.path / f"f{number}" for number in range(5)))
    assert mount.stop() == 0
    expected = b"x" * 100_000 + bytes(12_000_000 - 100_000) + b"end"
    for number in range(5):
        assert bucket.get(f"f{number}") == expected


def test_what_was_dirty_when_it_was_killed_is_uploaded_by_the_next(
    mount: OurMount, bucket: Bucket, holder: Holder
) -> None:
    """kill -9 with dirty files: the next start on the same cache directory uploads them."""
    holder(mount.path / "f")
    mount.kill()
    assert "f" not in bucket
    mount.expected.append("recover|dirty|unclean|left|resum|upload")
    mount.restart()
    assert eventually(lambda: "f" in bucket, 20)
    assert bucket.get("f") == b"x" * 100_000 + bytes(12_000_000 - 100_000) + b"end"


def test_sigterm_without_a_store_keeps_the_data(
    mounts: Mounts, bucket: Bucket, proxy: Proxy, holder: Holder
) -> None:
    """The store is gone: exit != 0 in bounded time, and the next start uploads."""
    mount = mounts(bucket, "--drain-time", "2", endpoint=proxy.endpoint)
    mount.expected.append(".")
    holder(mount.path / "f")
    with proxy.refusing():
        mount.child.signal(signal.SIGTERM)
        assert mount.child.wait(20) != 0
        assert not mount.is_mounted()
    mount.restart()
    assert eventually(lambda: "f" in bucket, 30)
    assert bucket.get("f").endswith(b"end")


UNSENT = (
    *("upload failed", "not uploaded", "aren't uploaded", "not everything is in S3"),
    *("a process ended", "unmounted from outside", "the keeper doesn't know yet"),
    "could not probe the store",  # of a worker that begins while the store refuses
)


@pytest.fixture
def unsent(mounts: Mounts, bucket: Bucket, proxy: Proxy) -> OurMount:
    """A mount with a file that the store refuses; `proxy.heal()` lets it in."""
    mount = mounts(bucket, "--drain-time", "1", endpoint=proxy.endpoint)
    mount.expected += UNSENT
    proxy.inject(Status(400, "InvalidRequest"), lambda seen: seen.method == "PUT", times=None)
    with pytest.raises(OSError), (mount.path / "f").open("wb") as file:
        file.write(b"unsent")
    return mount


def test_an_unmount_is_final(unsent: OurMount, bucket: Bucket, proxy: Proxy) -> None:
    """Also with a file that can't be uploaded: it is told, kept, and sent by the next start."""
    subprocess.run(["umount", unsent.path], check=True, timeout=10)
    assert unsent.child.wait(20) == 1
    assert not unsent.is_mounted()
    assert '"key": "f"' in unsent.said() and "kept on the cache volume" in unsent.said()
    proxy.heal()
    unsent.expected.append("did not upload")
    unsent.restart()
    assert eventually(lambda: "f" in bucket, 20)
    assert bucket.get("f") == b"unsent"


@pytest.mark.one_driver
def test_an_unmount_is_final_for_the_next_worker_too(unsent: OurMount) -> None:
    """One that died in the middle of its last uploads is followed by none that mounts again."""
    subprocess.run(["umount", unsent.path], check=True, timeout=10)
    os.kill(part(unsent, b"worker"), signal.SIGKILL)
    unsent.expected += ["did not upload"]
    assert unsent.child.wait(20) == 1
    assert not unsent.is_mounted()


def part(mount: OurMount, name: bytes) -> int:
    """Return the process of a mount that is its worker or its keeper."""
    children = Path(f"/proc/{mount.child.pid}/task/{mount.child.pid}/children").read_text().split()
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return next(int(pid) for pid in children if name in words[pid])


@pytest.mark.one_driver
def test_what_is_mounted_after_an_unmount_stays(mount: OurMount) -> None:
    """The end of a mount that somebody took away touches nothing that is there by then."""
    os.kill(part(mount, b"keeper"), signal.SIGSTOP)
    subprocess.run(["umount", mount.path], check=True, timeout=10)
    subprocess.run(["mount", "-t", "tmpfs", "none", mount.path], check=True, timeout=10)
    os.kill(part(mount, b"keeper"), signal.SIGCONT)
    assert mount.child.wait(20) == 0
    assert os.path.ismount(mount.path)
    subprocess.run(["umount", mount.path], check=True, timeout=10)


def test_read_only_writes_nothing(mounts: Mounts, bucket: Bucket) -> None:
    """Every change is EROFS; reading works."""
    bucket.put("f", b"content")
    bucket.put("d/f", b"content")
    root = mounts(bucket, "--read-only").path
    changes: list[Callable[[], object]] = [
        lambda: (root / "new").touch(),
        lambda: (root / "f").write_bytes(b"x"),
        lambda: (root / "f").open("ab"),
        lambda: os.truncate(root / "f", 0),
        lambda: (root / "f").unlink(),
        lambda: (root / "f").rename(root / "g"),
        lambda: (root / "new").mkdir(),
        lambda: (root / "d").rmdir(),
        lambda: (root / "f").chmod(0o600),
        lambda: os.utime(root / "f"),
        lambda: os.setxattr(root / "f", "user.a", b"1"),
        lambda: (root / "l").symlink_to("f"),
    ]
    for change in changes:
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EROFS
    assert (root / "f").read_bytes() == b"content"
    assert sorted(bucket.keys()) == ["d/f", "f"]


def test_an_empty_prefix_can_be_mounted(mounts: Mounts, bucket: Bucket) -> None:
    """A prefix without any key is an empty directory."""
    root = mounts(bucket.under("not/yet")).path
    assert os.listdir(root) == []
    (root / "f").write_bytes(b"x")
    assert bucket.keys() == ["not/yet/f"]


def probe(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the probe of a mount."""
    command = [sys.executable, "-m", "fusefs", "probe", str(path)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=20
    )


def test_the_probe_tells_living_from_dead(mount: OurMount, tmp_path: Path) -> None:
    """Exit 0 for a mount that answers; otherwise not, with a reason."""
    assert probe(mount.path).returncode == 0
    assert probe(tmp_path).returncode != 0
    mount.child.kill()
    dead = probe(mount.path)
    assert dead.returncode != 0
    assert dead.stdout + dead.stderr != ""


def test_many_mounts_of_one_bucket(mounts: Mounts, bucket: Bucket) -> None:
    """Three mounts at once, each with its own cache directory, see the same files."""
    roots = [mounts(bucket, "--attr-ttl", "1").path for _ in range(3)]
    for number, root in enumerate(roots):
        (root / f"f{number}").write_bytes(content(MIB, number))
    sleep(1.2)
    for root in roots:
        assert sorted(os.listdir(root)) == ["f0", "f1", "f2"]
        assert (root / "f1").read_bytes() == content(MIB, 1)


def test_a_mount_is_ready_after_one_request(mounts: Mounts, bucket: Bucket, proxy: Proxy) -> None:
    """The bucket is listed, for one key; keeper and worker don't each ask."""
    with proxy.counting() as seen:
        mounts(bucket, endpoint=proxy.endpoint)
    assert seen.operations == {"ListObjectsV2": 1}


def test_the_mount_table_names_the_bucket(mounts: Mounts, bucket: Bucket) -> None:
    """What `df`, `findmnt` and `mount` show in the place of a device."""
    path = mounts(bucket).path
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    shown = [line[0] for line in lines if line[1] == str(path)]
    assert shown == [f"s3mount:{bucket.name}"]


def test_memory_stays_bounded_while_streaming(mounts: Mounts, bucket: Bucket) -> None:
    """Neither what is read nor what is written lies in the daemon's memory."""
    mount = mounts(bucket, "--memory-limit", "32Mi")
    bucket.put("in", content(120 * MIB))
    began = mount.peak_memory()
    with (mount.path / "in").open("rb", 0) as source, (mount.path / "out").open("wb", 0) as target:
        while part := source.read(MIB):
            target.write(part)
    assert bucket.head("out")["ContentLength"] == 120 * MIB
    assert mount.peak_memory() - began < 100 * MIB
