"""HEADs of a scan: by one thread where that can be, and always with the answer of a HEAD."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fusefs import errors
from fusefs.mount.pools import RequestPool
from fusefs.s3.manyheads import ManyHeads, SentHead
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.proxy.exchange import on
from tests.proxy.faults import ACCESS_DENIED, SLOW_DOWN, HeldAnswer, Reset
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Endpoint
from tests.servers.tlsfront import TlsFront
from tests.stores.server import QuirkyStore

NAMES = [f"{number:03}" for number in range(100)]
Stores = Callable[..., Store]


@pytest.fixture(scope="module")
def quirky() -> Iterator[QuirkyStore]:
    """A store with some files."""
    with QuirkyStore() as store:
        bucket = store.bucket
        for name in NAMES:
            bucket.put(name, name.encode() * int(name))
        yield store


@pytest.fixture
def proxy(quirky: QuirkyStore) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with Proxy(quirky.endpoint) as proxy:
        yield proxy


@pytest.fixture
def stores(
    quirky: QuirkyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    """Open it through an endpoint, perhaps with a CA."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with ExitStack() as stack:

        def opened(endpoint: Endpoint, authority: Path | None = None, **told: Any) -> Store:
            if authority is not None:
                monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
            for name, value in endpoint.credentials.environment().items():
                (tmp_path / name).write_text(value)
            store = Store(
                StoreSettings(quirky.name, endpoint.url, REGION, credentials_dir=tmp_path, **told)
            )
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads."""
    with RequestPool(20) as pool:
        yield pool


def sent(heads: ManyHeads, names: list[str]) -> list[SentHead]:
    """Send HEADs."""
    asked = [SentHead(name) for name in names]
    heads.send(asked)
    return asked


def test_they_are_heads(proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor) -> None:
    """Each one's answer is what HEAD by itself returns, of a key that isn't there, too."""
    store = stores(proxy.endpoint)
    heads = ManyHeads(store, pool, 10)
    for _ in range(2):
        answers = [each.result() for each in sent(heads, NAMES)]
    assert [info.size for info in answers] == [3 * int(name) for name in NAMES]
    assert answers[:5] == [store.head(name) for name in NAMES[:5]]
    with pytest.raises(errors.NotFound):
        sent(heads, ["missing"])[0].result()
    counted = store.counters.requests()
    assert counted == {("head_object", "ok"): 205, ("head_object", "NotFound"): 1}
    assert proxy.requests.operations == {"HeadObject": 206}


def test_one_thread_sends_them(proxy: Proxy, stores: Stores) -> None:
    """Once there are connections: a hundred HEADs are one task of the pool's."""

    class CountingPool(RequestPool):
        tasks = 0

        def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.tasks += 1
            return super().submit(work, *args, **kwargs)

    with CountingPool(20) as pool:
        heads = ManyHeads(stores(proxy.endpoint), pool, 10)
        for each in sent(heads, NAMES):
            each.result()
        sent(heads, NAMES[:1])[0].result()  # the last of the connections is idle, too
        before = pool.tasks
        hold = HeldAnswer()
        proxy.inject(hold, on("HeadObject", "000"))
        asked = sent(heads, NAMES)
        hold.wait_for(1)
        assert asked[99].result().size == 297
        hold.let_go()
        asked[0].result()
    assert pool.tasks <= before + 2


def test_connections_are_used_again(
    quirky: QuirkyStore, stores: Stores, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Over TLS as well: as many are opened as HEADs are in flight at most."""
    with TlsFront(quirky.endpoint, tmp_path / "certs") as front:
        store = stores(front.endpoint, front.authority)
        heads = ManyHeads(store, pool, 10)
        for _ in range(3):
            answers = [each.result() for each in sent(heads, NAMES)]
        assert [info.size for info in answers] == [3 * int(name) for name in NAMES]
        assert 1 <= front.accepted <= 10
        assert store.counters.requests() == {("head_object", "ok"): 300}


@pytest.mark.parametrize("fault", [SLOW_DOWN, Reset()])
def test_what_has_no_answer_is_asked_for_again(
    proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor, fault: object
) -> None:
    """By itself, as any request is."""
    heads = ManyHeads(stores(proxy.endpoint), pool, 10)
    for each in sent(heads, NAMES[:10]):
        each.result()  # now there are connections
    proxy.inject(fault, on("HeadObject", "050"))  # type: ignore[arg-type]
    asked = sent(heads, NAMES)
    assert [each.result().size for each in asked] == [3 * int(name) for name in NAMES]


def test_a_refusal_is_that_of_its_own_head(
    proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor
) -> None:
    """The others are answered."""
    heads = ManyHeads(stores(proxy.endpoint), pool, 10)
    proxy.inject(ACCESS_DENIED, lambda seen: seen.key == "050", times=None)
    for _ in range(2):
        asked = sent(heads, NAMES)
        with pytest.raises(errors.AccessDenied):
            asked[50].result()
        assert asked[99].result().size == 297


def test_no_more_are_in_flight_than_it_was_told(
    proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor
) -> None:
    """On connections that were open, and on new ones."""
    heads = ManyHeads(stores(proxy.endpoint), pool, 10)
    for each in sent(heads, NAMES[:5]):
        each.result()
    before, hold = len(proxy.requests), HeldAnswer()
    proxy.inject(hold, on("HeadObject"), times=None)
    asked = sent(heads, NAMES)
    hold.wait_for(10)
    assert len(proxy.requests) - before == 10
    hold.let_go()
    assert asked[99].result().size == 297


def test_an_answer_that_is_overdue_is_asked_for_again(
    proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor
) -> None:
    """After half of the read timeout, by itself."""
    heads = ManyHeads(stores(proxy.endpoint, read_timeout=0.6), pool, 10)
    sent(heads, ["001"])[0].result()
    hold = HeldAnswer()
    proxy.inject(hold, on("HeadObject", "002"))
    assert sent(heads, ["002"])[0].result().size == 6
    hold.let_go()
    assert len(proxy.requests.of("HeadObject", "002")) >= 2


def test_without_the_fast_path_each_has_a_thread(
    proxy: Proxy, stores: Stores, pool: ThreadPoolExecutor
) -> None:
    """The answers are the same."""
    heads = ManyHeads(stores(proxy.endpoint, direct=False), pool, 10)
    assert [each.result().size for each in sent(heads, NAMES[:20])] == [
        3 * int(name) for name in NAMES[:20]
    ]


def test_nobody_waits_for_a_mount_that_has_ended(quirky: QuirkyStore, stores: Stores) -> None:
    """Who sends gets EIO, and so does who waits."""
    pool = RequestPool(2)
    heads = ManyHeads(stores(quirky.endpoint), pool)
    pool.shutdown()
    asked = [SentHead("000")]
    with pytest.raises(errors.Unavailable):
        heads.send(asked)
    with pytest.raises(errors.Unavailable):
        asked[0].result()


class Exhausted(ThreadPoolExecutor):
    """A pool whose first thread is its last."""

    def submit(self, *told: Any, **named: Any) -> Any:
        """Refuse with what is no error of ours, as the library's own pools do."""
        if self._threads:
            raise RuntimeError("cannot schedule new futures")
        return super().submit(*told, **named)


class Unconnected:
    """A store without an idle connection."""

    def begin_head(self, key: str) -> None:
        """Nothing is sent."""


def test_a_pool_that_takes_nothing_more_costs_an_answer_and_no_thread() -> None:
    """Whoever waits gets an error, and the thread that sends comes to its end."""
    store: Any = Unconnected()
    with Exhausted(2) as pool:
        heads = [SentHead(name) for name in NAMES[:3]]
        ManyHeads(store, pool).send(heads)
        for head in heads:
            with pytest.raises(errors.Unavailable):
                head.result()
