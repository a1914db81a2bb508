"""How long a request may take in all: the budget is the call's, and silence alone uses it up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs import errors
from fusefs.objects import Headers
from fusefs.s3.retry import LEAST_SILENCE, PROGRESS, BodyAttempts, BrokenBody, RetryBudget
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.proxy.exchange import Exchange
from tests.proxy.faults import Hold, SlowUpload, Stall, StalledBody
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket

MiB = 1 << 20
BUDGET = 1.0
# What may come on top of it: the last try, boto3's pauses, a busy machine. Five tries of boto3's,
# each with a limit of its own, took many times as long.
MORE = 5.0

Call = Callable[[Store], object]
ETAG = "0" * 32

REQUESTS: dict[str, Call] = {
    "head": lambda store: store.head("f"),
    "list": lambda store: store.list_page(""),
    "put": lambda store: store.put("g", b"x" * 100_000, Headers(), None),
    "start": lambda store: store.get_start("f", 1000),
    "range": lambda store: store.get_into("f", ETAG, 0, memoryview(bytearray(9)), print),
    "copy": lambda store: store.copy("f", None, "g", None),
    "delete": lambda store: store.delete("f"),
    "create": lambda store: store.uploads.create("g", Headers()),
    "part": lambda store: store.uploads.part("g", "1", 1, bytearray(5 * MiB)),
    "complete": lambda store: store.uploads.complete("g", "1", [], None),
    "abort": lambda store: store.uploads.abort("g", "1"),
}


@pytest.fixture(params=[True, False], ids=["direct", "boto3"])
def reached(
    request: pytest.FixtureRequest, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> Iterator[Store]:
    """A store that may be silent for a second, reached by its proxy."""
    for name, value in proxy.endpoint.credentials.environment().items():
        (tmp_path / name).write_text(value)
    store = Store(
        StoreSettings(
            bucket.name,
            proxy.endpoint.url,
            REGION,
            credentials_dir=tmp_path,
            retry_for=BUDGET,
            connect_timeout=BUDGET,
            read_timeout=BUDGET,
            direct=request.param,
        )
    )
    bucket.put("f", b"content")
    store.list_page("")
    yield store
    proxy.heal()
    store.close()


def anything(_: Exchange) -> bool:
    """Match every request."""
    return True


def test_a_store_that_accepts_and_never_answers_is_an_io_error(
    reached: Store, proxy: Proxy
) -> None:
    """When the budget of the call is over, not when every try has had it; whatever is asked."""
    proxy.inject(Stall(60), anything, times=None)
    began = time.monotonic()
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        calls = {name: pool.submit(call, reached) for name, call in REQUESTS.items()}
        told = {name: type(call.exception()) for name, call in calls.items()}
    assert told == dict.fromkeys(REQUESTS, errors.Unavailable)
    assert time.monotonic() - began < BUDGET + MORE


def test_a_body_that_never_comes_is_an_io_error(reached: Store, proxy: Proxy) -> None:
    """Tries of a body are within the same budget as the requests for it."""
    etag = reached.head("f").etag
    proxy.inject(StalledBody(60), anything, times=None)
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        reached.get_start("f", 7, whole=True)
    with pytest.raises(errors.Unavailable):
        reached.get_into("f", etag, 0, memoryview(bytearray(7)), lambda _: None)
    assert time.monotonic() - began < 2 * (BUDGET + MORE)


def test_a_slow_upload_is_not_cut_off(reached: Store, bucket: Bucket, proxy: Proxy) -> None:
    """It takes longer than the budget, and is sent once: bytes were moving all the time."""
    proxy.inject(SlowUpload(8 * MiB), anything, times=None)
    with proxy.counting() as seen:
        reached.put("g", bytes(12 * MiB), Headers(), None)
    assert len(seen) == 1 and len(bucket.get("g")) == 12 * MiB


def test_one_stalled_request_is_asked_again(reached: Store, proxy: Proxy) -> None:
    """A connection that died unnoticed has not used up the whole budget."""
    hold = Hold()
    proxy.inject(hold, anything)
    assert reached.head("f").size == 7
    hold.let_go()


def a_budget(limit: float = 10.0, silence: float = 10.0) -> RetryBudget:
    """Return the budget of a call that begins now."""
    return RetryBudget(limit, time.monotonic(), silence)


def test_a_try_gets_half_of_what_is_left() -> None:
    """One that may be silent until it is done gets all of it; the last one little."""
    budget = a_budget()
    assert 4.9 < budget.begin(at_once=True) <= 5
    assert 9.9 < budget.begin(at_once=False) <= 10
    budget.since -= 20
    assert budget.left() < 0
    assert budget.begin(at_once=True) == LEAST_SILENCE


def test_time_in_which_bytes_moved_is_not_counted() -> None:
    """A try that lasted longer than it was allowed to be silent was not silent all along."""
    budget = a_budget()
    budget.begin(at_once=True)
    budget._began -= 60  # as if it had sent for a minute
    budget.since -= 60
    budget.ended()
    assert 4.9 < budget.left() <= 5.1


def test_a_body_that_goes_on_has_its_whole_budget_again() -> None:
    """It broke, but bytes had come: a line that breaks often is no silent store."""
    tries = BodyAttempts(2, a_budget(limit=0.5, silence=0.5))
    for _ in range(4):
        tries.budget.since -= 1  # the budget is over
        tries.wait_after(BrokenBody("broke", received=PROGRESS))
    tries.budget.since -= 1
    with pytest.raises(errors.Unavailable):
        tries.wait_after(BrokenBody("broke", received=PROGRESS - 1))
