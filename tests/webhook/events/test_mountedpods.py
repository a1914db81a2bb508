"""The fields of pods that events are made of."""

from typing import Any

import pytest

from tests.webhook import reviews
from tests.webhook.events.pods import ENDED, ENDED_AT, ended, mounted
from webhook.events.mountedpods import PODS, End, MountedPod
from webhook.injected import KEEPER, WORKER
from webhook.pod import containers


def kept(pod: dict[str, Any]) -> MountedPod:
    found = PODS.keep(pod)
    assert found is not None
    return found


def test_a_pod_with_a_bucket_is_kept() -> None:
    """Where it is, its port, and its mounts as the webhook wrote them."""
    pod = kept(mounted())
    assert (pod.namespace, pod.name, pod.uid) == ("shop", "web-1", "uid-of-web-1")
    assert (pod.ip, pod.port, pod.mounts, pod.ends) == ("10.0.0.7", 20303, ("default",), ())


def test_any_other_pod_is_not() -> None:
    """Nothing of it stays in memory."""
    assert PODS.keep(reviews.pod()) is None
    assert PODS.keep({"metadata": None, "spec": {"initContainers": [None, {"name": 7}]}}) is None


def test_the_names_are_those_that_are_injected() -> None:
    """Those that look for sidecars know no more of what is injected than its names."""
    assert (KEEPER, WORKER) == (containers.KEEPER, containers.WORKER)
    worker = containers.METRICS, containers.KEEPER
    assert worker == ("s3mount-metrics", "s3-mount-keeper")


def test_a_failed_end_says_why() -> None:
    """What the container wrote; else how the kernel or the kubelet ended it."""
    said = ended(WORKER, message="the bucket does not exist\n")
    killed = ended(KEEPER, exitCode=137, reason="OOMKilled")
    pod = kept(mounted(initContainerStatuses=[said, killed]))
    assert pod.ends == (
        End(WORKER, ENDED, ENDED_AT, "the bucket does not exist"),
        End(KEEPER, ENDED, ENDED_AT, "exit code 137, OOMKilled"),
    )


def test_an_end_as_wanted_and_ends_of_others_are_none() -> None:
    """Exit code 0, and containers that aren't ours."""
    states = [ended(WORKER, exitCode=0), ended("init"), {"name": KEEPER, "state": None}, None]
    assert kept(mounted(initContainerStatuses=states)).ends == ()


def test_what_a_container_says_is_one_short_line() -> None:
    """It is a stranger's text."""
    (end,) = kept(
        mounted(initContainerStatuses=[ended(WORKER, message="a\n\x1b[31mb\u202e" + "x" * 5000)])
    ).ends
    assert len(end.why) == 700
    assert end.why.isprintable()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Unknown"])
def test_a_pod_that_ended_has_no_address(phase: str) -> None:
    """It may be another pod's by now."""
    assert kept(mounted(phase=phase)).ip == ""


@pytest.mark.parametrize(
    "change",
    [
        {"env": [{"name": "S3MOUNT_CONFIG", "value": "{"}], "ports": [None, {"name": "x"}]},
        {"env": [{"name": "S3MOUNT_CONFIG", "value": '{"mounts": [7]}'}], "ports": None},
        {"env": None, "ports": [{"name": "s3mount-metrics", "containerPort": "x"}]},
    ],
)
def test_odd_workers_have_neither_mounts_nor_a_port(change: dict[str, Any]) -> None:
    """Nobody's pod ends the watch."""
    pod = mounted()
    pod["spec"]["initContainers"][-1] |= change
    assert (kept(pod).mounts, kept(pod).port) == ((), None)


def test_a_pod_that_no_api_server_writes_is_left_out() -> None:
    """The others are watched all the same."""
    assert PODS.keep(mounted(initContainerStatuses=7)) is None


@pytest.mark.parametrize("finished", [None, "", "yesterday", "9999999-01-01T00:00:00Z"])
def test_an_end_at_no_time_is_an_old_one(finished: str | None) -> None:
    """A kubelet that lost sight of a container writes no time: nothing to report."""
    lost = ended(WORKER, exitCode=137, reason="ContainerStatusUnknown", finishedAt=finished)
    (end,) = kept(mounted(initContainerStatuses=[lost])).ends
    assert end.at == 0.0


LOG = (
    '_down": true}\n{"event": "mounted", "level": "info"}\n'
    '{"event": "the mount failed", "error": "no such bucket", "level": "error"}\n'
)


def test_of_a_log_the_last_event_is_the_reason() -> None:
    """What the kubelet takes for a message where a container wrote none."""
    (end,) = kept(mounted(initContainerStatuses=[ended(WORKER, message=LOG)])).ends
    assert end.why == "the mount failed: no such bucket"


@pytest.mark.parametrize(
    "ending", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"deletionTimestamp": "now"}]
)
def test_of_a_pod_that_ends_only_a_written_reason_counts(ending: dict[str, str]) -> None:
    """Its sidecars are ended by a signal, and that is no failure; lost changes are."""
    states = [ended(WORKER, message="3 files aren't in the store"), ended(KEEPER, message=LOG)]
    states += [ended(WORKER, exitCode=143)]
    pod = mounted(initContainerStatuses=states, phase=ending.get("phase", "Running"))
    pod["metadata"] |= {"deletionTimestamp": ending.get("deletionTimestamp")}
    assert [end.why for end in kept(pod).ends] == ["3 files aren't in the store"]
