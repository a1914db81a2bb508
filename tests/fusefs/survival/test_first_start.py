"""A first start that failed never counts as having served: the next one checks again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.s3 import Bucket, Credentials

pytestmark = pytest.mark.mount

STARTS = 3


def exit_code(pod: S3Pod) -> int:
    assert pod.worker is not None
    return pod.worker.wait(20)


@pytest.fixture
def wrong(base: Path, bucket: Bucket) -> Iterator[S3Pod]:
    """A pod whose keys the store doesn't know."""
    endpoint = replace(bucket.endpoint, credentials=Credentials("wrong", "wrong"))
    pod = S3Pod(base, bucket, endpoint=endpoint)
    yield pod
    pod.clean_up()


def test_each_start_with_a_wrong_key_ends_with_the_reason(wrong: S3Pod) -> None:
    """The descriptor was taken before, yet the bucket never answered: exit 2 every time."""
    wrong.start_keeper()
    for _ in range(STARTS):
        wrong.start_worker()
        assert exit_code(wrong) == 2
    assert wrong.log.read_text().count('"level": "critical"') == STARTS


def test_a_key_that_is_put_right_serves(wrong: S3Pod, bucket: Bucket) -> None:
    """The start after the repair mounts as the first would have."""
    bucket.put("file", b"content")
    wrong.start_keeper()
    wrong.start_worker()
    assert exit_code(wrong) == 2
    wrong.environment |= bucket.endpoint.credentials.environment()
    wrong.start_worker()
    wrong.wait_until_well()
    done = subprocess.run(["cat", wrong.root / "file"], capture_output=True, check=True, timeout=10)
    assert done.stdout == b"content"
