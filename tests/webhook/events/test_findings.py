"""Which of what is seen is new, and what is said of it."""

from dataclasses import replace

import pytest

from tests.monitoring import exposed
from tests.webhook.events.pods import ENDED_AT, ended, mounted
from webhook.events.findings import COUNTED, Finding, Known, Values
from webhook.events.mountedpods import PODS, MountedPod
from webhook.injected import WORKER
from webhook.platform.reporting import CONFLICT, CREDENTIALS, FULL, MOUNT_FAILED, REMOUNTED

BEGAN = 1000.0


def pod(**status: object) -> MountedPod:
    found = PODS.keep(mounted(**status))
    assert found is not None
    return found


def values(began: float = BEGAN, mount: str = "default", **numbers: float) -> Values:
    return Values(began, {mount: numbers})


def reasons(known: Known, now: Values) -> list[tuple[str, int]]:
    return [(found.reason, found.times) for found in known.counted(pod(), now)]


def test_the_numbers_are_metrics_of_the_worker() -> None:
    """Their names are the worker's; the two packages may not import each other."""
    assert {f"s3mount_{name}" for name in COUNTED} <= exposed.names()


def test_a_failed_end_is_reported_once() -> None:
    """With the reason; a next failure is reported anew."""
    known = Known(ENDED_AT - 1)
    failed = pod(initContainerStatuses=[ended(WORKER, message="the bucket does not exist")])
    (found,) = known.ended(failed)
    assert found == Finding(
        MOUNT_FAILED, WORKER, "s3-mount-worker ended: the bucket does not exist", WORKER
    )
    assert list(known.ended(failed)) == []
    (again,) = failed.ends
    assert len(list(known.ended(replace(failed, ends=(replace(again, finished="later"),))))) == 1


def test_what_failed_before_we_began_is_not_reported() -> None:
    """A predecessor reported it."""
    known = Known(ENDED_AT + 1)
    assert list(known.ended(pod(initContainerStatuses=[ended(WORKER)]))) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("conflicts_total", CONFLICT),
        ("full_disk_errors_total", FULL),
        ("credentials_refused_total", CREDENTIALS),
        ("remounted", REMOUNTED),
    ],
)
def test_a_number_that_grew_is_reported(name: str, reason: str) -> None:
    """As often as it grew, and only then."""
    known = Known(BEGAN - 1)
    assert reasons(known, values(**{name: 0})) == []
    assert reasons(known, values(**{name: 1})) == [(reason, 1)]
    assert reasons(known, values(**{name: 1})) == []
    assert reasons(known, values(**{name: 4})) == [(reason, 3)]


def test_a_new_worker_counts_from_nothing() -> None:
    """Also where it has counted as far as the one before it."""
    known = Known(BEGAN - 1)
    assert reasons(known, values(conflicts_total=2)) == [(CONFLICT, 2)]
    assert reasons(known, values(BEGAN + 5, conflicts_total=2)) == [(CONFLICT, 2)]


def test_what_a_worker_counted_before_we_began_is_not_reported() -> None:
    """What comes after is."""
    known = Known(BEGAN + 1)
    assert reasons(known, values(conflicts_total=2, remounted=1)) == []
    assert reasons(known, values(conflicts_total=3, remounted=1)) == [(CONFLICT, 1)]


def test_only_mounts_of_the_pod_are_reported() -> None:
    """Whoever answers at the port can't make up others."""
    assert reasons(Known(0), values(mount="made-up", conflicts_total=7)) == []


def test_a_message_says_which_mount_and_what_to_do() -> None:
    """With the pod's name in the command."""
    (found,) = Known(0).counted(pod(), values(conflicts_total=1))
    assert found.message.startswith("mount default: another writer changed a file first")
    assert "`kubectl s3mount web-1 conflicts`" in found.message
