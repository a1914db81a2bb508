"""How events are written: once, counted, not too many, and later if not now."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest

from tests import schemas
from tests.webhook.events.pods import mounted
from webhook.events.findings import Finding
from webhook.events.mountedpods import PODS, MountedPod
from webhook.events.recorder import BURST, PAUSE, Recorder
from webhook.injected import WORKER
from webhook.platform.reporting import CONFLICT
from webhook.serve.log import make_logger

FOUND = Finding(CONFLICT, "default", "mount default: another writer was first", WORKER)


def pod(name: str = "web-1") -> MountedPod:
    found = PODS.keep(mounted(name))
    assert found is not None
    return found


class Written:
    """An API server that keeps events, and a clock."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.requests: list[str] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.status = 0
        self.down = False
        self.recorder = Recorder(self, make_logger("INFO", StringIO()), lambda: self.now)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> int:
        self.requests.append(method)
        if self.down:
            raise OSError("connection refused")
        if self.status:
            return self.status
        if method == "POST":
            self.events[f"{path}/{body['metadata']['name']}"] = dict(body)
            return 201
        if path not in self.events:
            return 404
        self.events[path] |= body
        return 200

    def note(self, times: int = 1, after: float = 0.0, of: MountedPod | None = None) -> None:
        """Note a finding and write what is due."""
        self.now += after
        for _ in range(times):
            self.recorder.note(of or pod(), FOUND)
        self.recorder.flush()

    def counts(self) -> list[int]:
        return [event["count"] for event in self.events.values()]


@pytest.fixture
def written() -> Written:
    return Written()


def test_an_event_is_one_of_the_pod(written: Written) -> None:
    """What `kubectl describe pod` looks for, valid for Kubernetes."""
    written.note()
    ((path, event),) = written.events.items()
    assert path.startswith("/api/v1/namespaces/shop/events/web-1.")
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == ("Pod", "web-1", "uid-of-web-1")
    assert (event["type"], event["reason"], event["message"]) == (
        *("Warning", CONFLICT),
        FOUND.message,
    )
    assert (event["firstTimestamp"], event["count"]) == ("1970-01-12T13:46:40Z", 1)
    schemas.validate(event, schemas.LATEST)


def test_the_same_again_raises_the_count(written: Written) -> None:
    """At most once a minute, with all that happened until then."""
    written.note()
    written.note(times=3, after=1)
    assert (written.counts(), written.requests) == ([1], ["POST"])
    written.note(after=PAUSE)
    assert (written.counts(), written.requests) == ([5], ["POST", "PATCH"])
    (event,) = written.events.values()
    assert event["lastTimestamp"] == "1970-01-12T13:47:41Z"


def test_nothing_new_writes_nothing(written: Written) -> None:
    """However often it is looked."""
    written.note()
    written.note(times=0, after=PAUSE)
    assert written.requests == ["POST"]


def test_a_storm_is_bounded(written: Written) -> None:
    """A store that fails for all pods at once: a burst, then one a second, none forgotten."""
    for number in range(BURST + 20):
        written.recorder.note(pod(f"web-{number}"), FOUND)
    written.recorder.flush()
    assert len(written.events) == BURST
    written.note(times=0, after=5)
    assert len(written.events) == BURST + 5
    written.note(times=0, after=15)
    assert len(written.events) == BURST + 20


def test_lasting_storms_leave_no_pod_out(written: Written) -> None:
    """More pods fail all the time than events may be written: each has its turn."""
    pods = [pod(f"web-{number}") for number in range(150)]
    for _ in range(30):
        for each in pods:
            written.recorder.note(each, FOUND)
        written.note(times=0, after=5)
    assert len(written.events) == len(pods)


def test_an_event_that_the_api_server_forgot_is_written_anew(written: Written) -> None:
    """It keeps them for an hour."""
    written.note()
    written.events.clear()
    written.note(after=PAUSE)
    assert (written.counts(), written.requests) == ([1], ["POST", "PATCH", "POST"])
    written.note(after=3600)
    assert written.requests[3:] == ["POST"]


def test_what_could_not_be_written_is_written_later(written: Written) -> None:
    """While the API server is away nothing is lost, and it isn't asked for each."""
    written.down = True
    written.recorder.note(pod("web-2"), FOUND)
    written.note()
    assert written.requests == ["POST"]
    written.down = False
    written.note(after=5)
    assert sorted(written.counts()) == [1, 2]


def test_a_refused_event_is_not_repeated_at_once(written: Written) -> None:
    """The namespace is going, or the right isn't there: logged, tried with the next."""
    written.status = 403
    written.note()
    written.note(times=0, after=PAUSE)
    assert written.requests == ["POST"]
    written.status = 0
    written.note(after=PAUSE)
    assert written.requests == ["POST", "POST"]


def test_pods_that_are_gone_are_forgotten(written: Written) -> None:
    """Memory is for those that there are."""
    written.down = True
    written.note()
    written.recorder.forget(["another"])
    written.down = False
    written.note(times=0, after=5)
    assert written.events == {}


def test_long_names_and_messages_fit(written: Written) -> None:
    """A pod's name may have 253 characters, and so may an event's."""
    written.recorder.note(pod("a" * 253), Finding(CONFLICT, "x", "m" * 5000, WORKER))
    written.recorder.flush()
    ((path, event),) = written.events.items()
    assert len(path.rpartition("/")[2]) == 253
    assert len(event["message"]) == 1024
