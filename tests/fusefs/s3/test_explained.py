"""A HEAD that was refused without a reason: a GET asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import errors
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.proxy.faults import Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket

BAD = Status(400, "")
TWICE = 2  # of one call: directly, and by boto3


@pytest.fixture
def asking(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> Iterator[Store]:
    """A store reached by the proxy, with an object `f`."""
    for name, value in proxy.endpoint.credentials.environment().items():
        (tmp_path / name).write_text(value)
    bucket.put("f", b"content")
    settings = StoreSettings(
        bucket.name, proxy.endpoint.url, REGION, credentials_dir=tmp_path, retry_for=5.0
    )
    store = Store(settings)
    yield store
    store.close()


def test_a_head_is_asked_again_when_its_explaining_get_succeeds(
    asking: Store, proxy: Proxy
) -> None:
    """The credentials were renewed between the two: what was wrong isn't any more."""
    proxy.inject(BAD, lambda seen: seen.method == "HEAD", times=TWICE)
    assert asking.head("f").size == 7


def test_a_head_of_what_is_not_there_is_asked_again_too(asking: Store, proxy: Proxy) -> None:
    """A GET's 404 is an answer to credentials that are good."""
    proxy.inject(BAD, lambda seen: seen.method == "HEAD", times=TWICE)
    with pytest.raises(errors.NotFound):
        asking.head("missing")


def test_a_store_that_refuses_heads_only_is_asked_twice(asking: Store, proxy: Proxy) -> None:
    """No loop: if the next HEAD is refused again, that is the answer."""
    refusal = proxy.inject(BAD, lambda seen: seen.method == "HEAD", times=None)
    with pytest.raises(errors.Unavailable):
        asking.head("f")
    assert refusal.hits < 10
