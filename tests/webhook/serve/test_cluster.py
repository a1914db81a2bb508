"""What is known about namespaces: mirrored, never asked for during a review."""

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any

import pytest

from tests.waiting import until
from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review.decision import Decider, Denied, Injected
from webhook.serve.cluster import ClusterLookup
from webhook.serve.log import make_logger


def entry(name: str, namespace: str = "", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "resourceVersion": "7"}
    }


class ScriptedApi:
    """An API server that answers lists from a dictionary and watches from a queue."""

    def __init__(self, **lists: list[dict[str, Any]]) -> None:
        self.lists = {f"/api/v1/{kind}": items for kind, items in lists.items()}
        self.events: queue.Queue[dict[str, Any] | bytes | None] = queue.Queue()
        self.queries: list[Mapping[str, str]] = []
        self.down = False
        self.spoilt: list[bytes] = []

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        assert "PartialObjectMetadata" in accept
        self.queries.append(dict(query))
        if self.down:
            raise OSError("connection refused")
        if "watch" not in query:
            yield from self._page(path, int(query.get("continue", 0)))
            return
        while (event := self.events.get(timeout=30)) is not None:
            yield event if isinstance(event, bytes) else json.dumps(event).encode()

    def _page(self, path: str, start: int) -> Iterator[bytes]:
        items = self.lists[path]
        more = {"continue": str(start + 1)} if start + 1 < len(items) else {}
        page = {"metadata": {"resourceVersion": "7"} | more, "items": items[start : start + 1]}
        yield self.spoilt.pop(0) if self.spoilt else json.dumps(page).encode()


@pytest.fixture
def mirrored() -> Iterator[Callable[..., tuple[ClusterLookup, ScriptedApi]]]:
    """A factory for lookups over a scripted API server; all of them are stopped in the end."""
    made: list[tuple[ClusterLookup, ScriptedApi]] = []

    def make(**lists: list[dict[str, Any]]) -> tuple[ClusterLookup, ScriptedApi]:
        api = ScriptedApi(**lists)
        wanted = {"namespaces": "namespaces" in lists, "secrets": "secrets" in lists}
        log = make_logger("INFO", StringIO())
        made.append((ClusterLookup(api, log, **wanted, retry=0.01), api))
        return made[-1]

    yield make
    for lookup, api in made:
        lookup.stop()
        for _ in api.lists:
            api.events.put(None)


Mirrored = Callable[..., tuple[ClusterLookup, ScriptedApi]]


def test_every_page_of_a_list_is_mirrored(mirrored: Mirrored) -> None:
    """Labels of all namespaces are known once the list is complete."""
    lookup, _ = mirrored(namespaces=[entry("a", tier="gold"), entry("b"), entry("c", tier="tin")])
    until(lambda: lookup.labels("c") is not None)
    assert lookup.labels("a") == {"tier": "gold"}
    assert lookup.labels("unheard-of") is None
    assert lookup.has_secret("a", "x") is None


def test_changes_are_followed(mirrored: Mirrored) -> None:
    """Added, changed and deleted objects; a bookmark only moves the version."""
    lookup, api = mirrored(namespaces=[entry("a")])
    api.events.put({"type": "ADDED", "object": entry("b", tier="gold")})
    api.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    api.events.put({"type": "MODIFIED", "object": entry("a", tier="tin")})
    until(lambda: lookup.labels("a") == {"tier": "tin"})
    assert lookup.labels("b") == {"tier": "gold"}
    api.events.put({"type": "DELETED", "object": entry("b")})
    until(lambda: lookup.labels("b") is None)


def test_watch_goes_on_where_it_ended(mirrored: Mirrored) -> None:
    """A watch that ends is begun again at the last version, without another list."""
    lookup, api = mirrored(namespaces=[entry("a")])
    api.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    api.events.put(None)
    until(lambda: len(api.queries) == 3)
    assert [query.get("resourceVersion") for query in api.queries] == [None, "7", "9"]
    assert lookup.labels("a") == {}


def test_forgotten_version_means_another_list(mirrored: Mirrored) -> None:
    """After an ERROR event everything is listed anew."""
    lookup, api = mirrored(namespaces=[entry("a")])
    until(lambda: lookup.labels("a") is not None)
    api.lists["/api/v1/namespaces"] = [entry("z")]
    api.events.put({"type": "ERROR", "object": {"code": 410}})
    until(lambda: lookup.labels("z") is not None)
    assert lookup.labels("a") is None


class Forgetful(ScriptedApi):
    """An API server that ends each watch at once with an ERROR; `again`: it was asked anew."""

    def __init__(self) -> None:
        super().__init__(namespaces=[entry("a")])
        self.again = threading.Event()

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        if "watch" in query:
            return iter([b'{"type": "ERROR", "object": {"code": 410}}'])
        if self.queries:
            self.again.set()
        return super().get(path, accept, query)


def test_an_api_server_that_forgets_at_once_is_not_stormed() -> None:
    """A list is of all objects of the cluster, so the next one is made after a pause."""
    api = Forgetful()
    lookup = ClusterLookup(
        api, make_logger("INFO", StringIO()), namespaces=True, secrets=False, retry=1000
    )
    until(lambda: lookup.labels("a") is not None)
    stormed = api.again.wait(0.2)
    lookup.stop()
    assert not stormed


def test_what_is_known_outlives_the_api_server(mirrored: Mirrored) -> None:
    """While the API server is away the last labels stay."""
    lookup, api = mirrored(namespaces=[entry("a", tier="gold")])
    until(lambda: lookup.labels("a") is not None)
    api.down = True
    api.events.put(None)
    until(lambda: len(api.queries) >= 3)
    assert lookup.labels("a") == {"tier": "gold"}


ODD = [
    *(b"null", b"[]", b"7", b"{}", b"", b"{", b'{"type": null, "object": null}'),
    *(b'{"type": "ADDED"}', b'{"type": "ADDED", "object": []}', b"[" * 100_000),
    *(b'{"type": "ADDED", "object": {"metadata": []}}', b'{"type": [], "object": {}}'),
]


@pytest.mark.parametrize("line", ODD, ids=lambda line: line[:50].decode())
def test_mirrors_survive_odd_lines(mirrored: Mirrored, line: bytes) -> None:
    """A line of a watch that is no event: told, and everything is listed anew."""
    lookup, api = mirrored(namespaces=[entry("a")])
    until(lambda: lookup.labels("a") is not None)
    api.lists["/api/v1/namespaces"] = [entry("z")]
    api.events.put(line)
    until(lambda: lookup.labels("z") is not None)


@pytest.mark.parametrize("page", [b"null", b"[]", b'{"items": [null]}', b'{"items": "x"}', b"{}"])
def test_mirrors_survive_odd_lists(mirrored: Mirrored, page: bytes) -> None:
    """A list that is none: told, and asked for again."""
    lookup, api = mirrored(namespaces=[entry("a")])
    until(lambda: lookup.labels("a") is not None)
    api.spoilt = [page]
    api.lists["/api/v1/namespaces"] = [entry("z")]
    api.events.put({"type": "ERROR", "object": {"code": 410}})
    until(lambda: lookup.labels("z") is not None)


def test_a_list_of_nothing_is_a_list(mirrored: Mirrored) -> None:
    """`items` is null where there are none: known, and not asked for again at once."""
    lookup, api = mirrored(secrets=[entry("a", "shop")])
    until(lambda: lookup.has_secret("shop", "a") is True)
    api.spoilt = [b'{"metadata": {"resourceVersion": "8"}, "items": null}']
    api.events.put({"type": "ERROR", "object": {"code": 410}})
    until(lambda: lookup.has_secret("shop", "a") is False)


def test_missing_secret_is_warned_of(mirrored: Mirrored) -> None:
    """A Secret that isn't there yet is a warning, one that is there is none."""
    lookup, _ = mirrored(secrets=[entry("other", "shop"), entry("my-credentials", "shop")])
    until(lambda: lookup.has_secret("shop", "other") is not None)
    decider = Decider(Platform(), lookup=lookup)
    for namespace, expected in (("shop", []), ("empty", ["no-secret"])):
        decision = decider.decide(reviews.pod(), namespace)
        assert isinstance(decision, Injected)
        assert [warning.reason for warning in decision.warnings] == expected


def test_reviews_ask_the_api_server_nothing(mirrored: Mirrored) -> None:
    """Everything is answered from memory, also about namespaces and Secrets nobody knows."""
    lookup, api = mirrored(namespaces=[entry("shop")], secrets=[entry("other", "shop")])
    until(lambda: sum("watch" in query for query in api.queries) == 2)
    before = len(api.queries)
    decider = Decider(Platform(), lookup=lookup)
    for namespace in ("shop", "unknown") * 20:
        assert isinstance(decider.decide(reviews.pod(), namespace), Injected)
    assert len(api.queries) == before


def test_pod_security_level_is_seen(mirrored: Mirrored) -> None:
    """A namespace that will refuse the mount's container denies the pod with the remedy."""
    label = {"pod-security.kubernetes.io/enforce": "baseline"}
    lookup, _ = mirrored(namespaces=[entry("shop", **label)])
    until(lambda: lookup.labels("shop") is not None)
    decision = Decider(Platform(), lookup=lookup).decide(reviews.pod(), "shop")
    assert isinstance(decision, Denied)
    assert "kubectl label namespace shop" in decision.problems[0].remedy
