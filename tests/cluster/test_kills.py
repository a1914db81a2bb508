"""Whatever is killed in a pod: the application sees no error, and no promise is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import ledger
from tests.cluster.cluster import Manifest, status_of, until
from tests.cluster.conftest import Place
from tests.cluster.node import Node

KEEPER, WORKER = "s3-mount-keeper", "s3-mount-worker"


def log(place: Place, name: str) -> str:
    """Return what the application has printed."""
    return place.cluster.must("-n", place.namespace, "logs", name, "-c", "app")


def keeper_log(place: Place) -> str:
    """Return what the running keeper of the application's pod has said."""
    return place.cluster.kubectl("-n", place.namespace, "logs", "ledger", "-c", KEEPER).out


@contextmanager
def application(
    place: Place, name: str = "ledger", seconds: float = 180, **told: str
) -> Iterator[Manifest]:
    """Run the application; afterwards everything that it was promised is in the bucket.

    `told`: annotations of its mount.
    """
    pod = place.start(name, place.template(ledger.COMMAND, place.notes(**told)))
    going_on(place, name)
    yield pod
    going_on(place, name)
    assert status_of(place.pod(name), "app")["restartCount"] == 0, log(place, name)[-500:]
    promised = ledger.promises(log(place, name))
    place.end(name, seconds=seconds)
    assert ledger.broken(promised, place.bucket) == {}


def going_on(place: Place, name: str, files: int = 5, seconds: float = 120) -> None:
    """Wait until the application has written some more files, and until its log can be read."""
    (before,) = until("its log", lambda: _written(place, name), seconds)
    enough = before + files
    until("more files", lambda: _written(place, name) >= (enough,), seconds)


def _written(place: Place, name: str) -> tuple[int, ...]:
    """Return how many files the application has written; nothing where its log can't be read."""
    said = place.cluster.kubectl("-n", place.namespace, "logs", name, "-c", "app")
    return (len(ledger.promises(said.out)),) if said.code == 0 else ()


def restarted(place: Place, name: str, container: str) -> Callable[[], bool]:
    """Return a look that is true when a container has been started once more than now."""
    before = status_of(place.pod(name), container)["restartCount"]
    return lambda: status_of(place.pod(name), container)["restartCount"] > before


def test_worker_killed_five_times(place: Place, the_node: Node) -> None:
    """Each time the application waits for a moment and goes on."""
    with application(place):
        for _ in range(5):
            the_node.kill_serving(place.pod("ledger"), WORKER)
            going_on(place, "ledger")


def test_keeper_killed(place: Place, the_node: Node) -> None:
    """The mount doesn't notice, also when its worker dies afterwards."""
    with application(place):
        the_node.kill(place.pod("ledger"), KEEPER)
        going_on(place, "ledger")
        until("the next keeper has the mount", lambda: "took the mount" in keeper_log(place), 60)
        the_node.kill(place.pod("ledger"), WORKER)
        going_on(place, "ledger")


def test_both_killed(place: Place, the_node: Node) -> None:
    """The pod is no longer Ready, what was promised is in the bucket, and the pod ends."""
    pod = place.start("ledger", place.template(ledger.COMMAND))
    going_on(place, "ledger")
    promised = ledger.promises(log(place, "ledger"))
    the_node.kill(pod, KEEPER, WORKER)
    until("not Ready", lambda: not _serves(place), 60)
    place.end("ledger", seconds=90)
    assert ledger.broken(promised, place.bucket) == {}
    assert the_node.mounts(pod["metadata"]["uid"]) == []


def _serves(place: Place) -> bool:
    pod = place.pod("ledger")
    return all(each.get("ready") for each in pod["status"].get("initContainerStatuses", []))


def test_worker_container_killed(place: Place, the_node: Node) -> None:
    """The whole container, as the kernel does it for memory under cgroup v2: it comes back."""
    with application(place) as pod:
        restart = restarted(place, "ledger", WORKER)
        the_node.kill(pod, WORKER)
        going_on(place, "ledger")
        until("the kubelet has started it again", restart, 60)


def test_worker_out_of_memory(place: Place, the_node: Node) -> None:
    """The kernel kills it at its limit while files are written: the application goes on."""
    with application(place) as pod:
        with the_node.out_of_memory(pod, WORKER):
            pass
        going_on(place, "ledger")


@pytest.mark.parametrize("grace", [1, 0], ids=["grace-period 1", "force"])
def test_deleted_while_writing(place: Place, the_node: Node, grace: int) -> None:
    """What was promised before the deletion is in the bucket, and nothing stays mounted."""
    pod = place.start("ledger", place.template(ledger.COMMAND))
    going_on(place, "ledger")
    promised = ledger.promises(log(place, "ledger"))
    place.end("ledger", grace=grace, seconds=90)
    assert ledger.broken(promised, place.bucket) == {}
    uid = pod["metadata"]["uid"]
    until("nothing is mounted", lambda: not the_node.mounts(uid), 60)


def test_sigterm_ignored(place: Place) -> None:
    """An application that doesn't end costs its grace period and no data."""
    script = "trap '' TERM; echo kept > /data/kept; while :; do sleep 1; done"
    template = place.template(["sh", "-c", script], terminationGracePeriodSeconds=15)
    notes = template["metadata"]["annotations"]
    assert notes
    place.start("deaf", template)
    place.end("deaf", seconds=120)
    assert place.bucket.get("kept") == b"kept\n"


def test_keeper_away_at_deletion(place: Place, the_node: Node) -> None:
    """A pod whose keeper waits in back-off ends within its grace period."""
    pod = place.start("ledger", place.template(ledger.COMMAND))
    going_on(place, "ledger")
    while "CrashLoopBackOff" not in _keeper_state(place):
        if found := the_node.processes(place.pod("ledger"), KEEPER):
            the_node.run(f"kill -9 {' '.join(map(str, found))}")
    place.end("ledger", seconds=90)
    assert the_node.mounts(pod["metadata"]["uid"]) == []


def _keeper_state(place: Place) -> str:
    return str(status_of(place.pod("ledger"), KEEPER).get("state", {}))
