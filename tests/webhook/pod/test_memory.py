"""The worker stays within its memory limit, however many mounts it serves."""

import pytest

from tests.webhook import reviews
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.pod.memory import buffers, needed
from webhook.spec.mountspec import Wanted, asking, read

MIB = 2**20


def wanted(mounts: int, limit: int | None) -> Wanted:
    annotations = {}
    for n in range(mounts):
        annotations |= {f"s3.mount/bucket.m{n}": "my-bucket", f"s3.mount/path.m{n}": f"/m{n}"}
    platform = Platform().replaced(worker=Resources(memory_limit=limit))
    return read(asking(reviews.pod(annotations)), platform)[0]


@pytest.mark.parametrize(
    ("mounts", "limit", "expected"),
    [(1, 1024, 128), (4, 1024, 128), (8, 1024, 55), (16, 1024, 16), (1, 256, 87), (1, 128, 16)],
)
def test_buffers_share_what_the_process_leaves(mounts: int, limit: int, expected: int) -> None:
    """Never more than a mount can use, never less than it needs to read ahead; sizes in MiB."""
    assert buffers(wanted(mounts, limit * MIB)) == expected * MIB


def test_without_a_limit_the_mount_decides() -> None:
    """The mount has a default of its own."""
    assert buffers(wanted(3, None)) is None


@pytest.mark.parametrize("mounts", range(1, 17))
def test_what_is_needed_suffices(mounts: int) -> None:
    """With the limit that the warning names, no more than the least is taken from anyone."""
    found = buffers(wanted(mounts, needed(wanted(mounts, None))))
    assert found == 16 * MIB
