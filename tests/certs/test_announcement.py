"""Images that replicas announce to the guards: docs/install.md, "Upgrade"."""

from collections.abc import Iterator, Mapping

import pytest
from kubernetes import client

from certs.agent import Agent
from certs.announcement import BEAT_SECONDS, GONE_SECONDS, Announcement
from certs.cluster import ImagesBoard
from certs.errors import Conflict, Missing, Unreachable
from certs.rotation import Rotation
from certs.tlsdir import TlsDirectory
from tests.certs.api_server import ApiServer, serving
from tests.certs.fake import NAMES, FakeCluster, TestClock
from tests.certs.test_agent import Lines
from tests.deploy import guards
from tests.deploy.rendered import GUARDED, one

PATH = "/apis/s3.mount/v1/namespaces/s3mount-system/announcedimages/s3mount-images"
OLD, NEW = "s3mount:0.1.0", "s3mount:0.2.0"


class FakeBoard:
    """The object in memory; `down` is an API server that doesn't answer."""

    def __init__(self, installed: str = OLD) -> None:
        self.data: dict[str, str] = {"installed": installed}
        self.beats: dict[str, str] = {}
        self.down = False

    def announce(self, replica: str, image: str, beat: str) -> Mapping[str, str]:
        if self.down:
            raise Unreachable("no answer")
        self.data[replica], self.beats[replica] = image, beat
        return dict(self.beats)

    def withdraw(self, replicas: list[str]) -> None:
        for replica in replicas:
            del self.data[replica], self.beats[replica]

    def admits(self, image: str) -> bool:
        """Whether the guard lets a pod pass that a replica of this image injected."""
        pod = guards.created(images=tuple(self.data.values()))
        for container in pod.object["spec"]["initContainers"][:2]:
            container["image"] = image
        return guards.guards(pod) == []


def run(clock: TestClock, seconds: float, *replicas: Announcement) -> None:
    """Let replicas go round every 5 s for a while."""
    for _ in range(int(seconds // 5)):
        clock.advance(5)
        for replica in replicas:
            replica.step()


def replicas(board: FakeBoard, clock: TestClock, image: str) -> list[Announcement]:
    return [Announcement(board, clock, f"{image[-5:]}-{n}", image) for n in range(2)]


def test_an_upgrade_has_no_gap():
    """While an old replica lives its pods pass; a new one's pass before it is ready."""
    board, clock = FakeBoard(), TestClock()
    old, new = replicas(board, clock, OLD), replicas(board, clock, NEW)
    run(clock, 60, *old)
    board.data["installed"] = NEW  # kubectl apply -k
    assert (board.admits(OLD), board.admits(NEW)) == (True, True)
    run(clock, 60, *old, new[0])
    run(clock, 60, old[1], *new)
    assert (board.admits(OLD), board.admits(NEW)) == (True, True)
    run(clock, 60, *new)
    assert board.admits(OLD), "its last pod may be on its way"
    run(clock, GONE_SECONDS + 2 * BEAT_SECONDS, *new)
    assert (board.admits(OLD), board.admits(NEW)) == (False, True)
    assert set(board.data) == {"installed", "0.2.0-0", "0.2.0-1"}


def test_a_tag_that_cannot_be_pulled_stops_nobody():
    """The old replicas go on for as long as it takes somebody to notice."""
    board, clock = FakeBoard(), TestClock()
    old = replicas(board, clock, OLD)
    run(clock, 60, *old)
    board.data["installed"] = "s3mount:missing"
    for _ in range(24):
        run(clock, 3600, *old)
        assert board.admits(OLD)


def test_going_back_has_no_gap_either():
    """The version that comes back announces itself as the other did."""
    board, clock = FakeBoard(NEW), TestClock()
    new = replicas(board, clock, NEW)
    run(clock, 60, *new)
    board.data["installed"] = OLD
    run(clock, 5, *new, *replicas(board, clock, OLD))
    assert (board.admits(OLD), board.admits(NEW)) == (True, True)


def test_what_an_operator_writes_stays():
    """An entry without a beat is nobody's to take out."""
    board, clock = FakeBoard(), TestClock()
    board.data["previous"] = "s3mount:0.0.9"
    run(clock, 2 * GONE_SECONDS, *replicas(board, clock, OLD))
    assert board.admits("s3mount:0.0.9")


def test_a_replica_is_ready_only_when_its_image_is_announced(tmp_path):
    """Its pods would all be refused; once told, an API server that is away changes nothing."""
    cluster = FakeCluster(TestClock())
    clock, log, board = cluster.clock, Lines(), FakeBoard()
    rotation = Rotation(cluster, clock, NAMES)
    announcement = Announcement(board, clock, "one", OLD)
    agent = Agent(rotation, TlsDirectory(tmp_path), log, announcement)
    board.down = True
    for _ in range(30):
        clock.advance(agent.round())
    assert not (tmp_path / "ready").exists()
    assert log.lines.count(("warning", "try-again")) == 1
    board.down = False
    clock.advance(agent.round())
    assert (tmp_path / "ready").exists()
    board.down = True
    for _ in range(30):
        clock.advance(agent.round())
    assert (tmp_path / "ready").exists()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server that serves the kind and has no object of it."""
    with serving() as running:
        yield running


def board(server: ApiServer) -> ImagesBoard:
    settings = client.Configuration(host=server.url)
    settings.retries = 0
    return ImagesBoard(client.ApiClient(settings), "s3mount-system", "s3mount-images")


def test_the_first_replica_makes_the_object(server):
    """Of the kind that the guards read; who comes later adds an entry to it."""
    assert board(server).announce("one", OLD, "1") == {"one": "1"}
    made = server.objects[PATH]
    policy = one("ValidatingAdmissionPolicy", "s3mount-created-pods", GUARDED)["spec"]
    assert {key: made[key] for key in policy["paramKind"]} == policy["paramKind"]
    assert board(server).announce("two", NEW, "2") == {"one": "1", "two": "2"}
    assert server.objects[PATH]["data"] == {"one": OLD, "two": NEW}
    assert [request.partition(" ")[0] for request in server.requests] == ["PATCH", "POST", "PATCH"]


def test_entries_are_written_by_patches_alone(server):
    """The only right on an object that is there; the rest of it stays."""
    server.put(PATH, {"data": {"previous": OLD}, "metadata": {"labels": {"a": "b"}}})
    long = "s3mount-webhook-" + "x" * 60
    assert board(server).announce("one", OLD, "1") == {"one": "1"}
    assert board(server).announce(long, NEW, "2") == {"one": "1", long: "2"}
    data = server.objects[PATH]["data"]
    assert data == {"previous": OLD, "one": OLD, long: NEW}
    board(server).withdraw(["one"])
    assert server.objects[PATH]["data"] == {"previous": OLD, long: NEW}
    assert list(server.objects[PATH]["metadata"]["annotations"].values()) == ["2"]
    assert server.objects[PATH]["metadata"]["labels"] == {"a": "b"}
    assert {request.partition(" ")[0] for request in server.requests} == {"PATCH"}


def test_an_object_that_was_deleted_is_made_anew(server):
    """With the next beat; a replica that takes others out makes none."""
    announcement = Announcement(board(server), TestClock(), "one", OLD)
    board(server).withdraw(["two"])
    assert server.objects == {}
    assert announcement.step() is None
    assert server.objects[PATH]["data"] == {"one": OLD}


def test_who_was_not_first_tries_again(server):
    """Another replica made the object between our two requests."""
    mine = board(server)
    entry = {"data": {}, "metadata": {"annotations": {}}}
    server.put(PATH, {"data": {"two": NEW}})
    with pytest.raises(Conflict):
        mine._create(entry)
    assert mine.announce("one", OLD, "1") == {"one": "1"}
    assert server.objects[PATH]["data"] == {"one": OLD, "two": NEW}


def test_a_replica_waits_for_the_kind(server):
    """The guards can't know its image before the CustomResourceDefinition is served."""
    server.unserved.add("/apis/s3.mount/")
    announcement = Announcement(board(server), TestClock(), "one", OLD)
    problem = announcement.step()
    assert isinstance(problem, Missing)
    assert "announcedimages.s3.mount" in str(problem)
    assert not announcement.made
    server.unserved.clear()
    assert announcement.step() is None
    assert announcement.made


def test_a_refusal_names_the_rights(server):
    """No right to it is no missing object."""
    server.fail = 403
    with pytest.raises(Unreachable, match="rbac"):
        board(server).announce("one", OLD, "1")
