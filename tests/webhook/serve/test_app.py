"""The HTTP face: which requests get which status."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import httpx
import pytest

from tests.webhook import reviews
from webhook import __version__
from webhook.platform.settings import Platform
from webhook.review.decision import Decider
from webhook.serve.app import make_app
from webhook.serve.endpoint import Endpoint
from webhook.serve.health import Health
from webhook.serve.log import make_logger
from webhook.serve.metrics import Metrics
from webhook.serve.reviewer import Reviewer
from webhook.serve.settings import Limits

JSON = {"content-type": "application/json"}


class Face:
    """The application under test, called without a network, and what it leaves behind."""

    def __init__(self) -> None:
        self.health, self.metrics, self._log = Health(), Metrics(), StringIO()
        log = make_logger("DEBUG", self._log)
        reviewer = Reviewer(Decider(Platform()), self.metrics, log)
        endpoint = Endpoint(reviewer, self.health, self.metrics, Limits(100_000, 1))
        self._app = make_app(endpoint, self.health, None)

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(self._send(method, path, **request))

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://webhook") as client:
            return await client.request(method, path, **request)

    def post(self, content: Any, kind: str = "application/json") -> httpx.Response:
        return self.send("POST", "/mutate", content=content, headers={"content-type": kind})

    def answer_to(self, receive: Any) -> None:
        """Answer a review whose body comes from a channel of ASGI."""

        async def send(_message: dict[str, Any]) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/mutate"}
        headers = [(b"content-type", b"application/json")]
        asyncio.run(self._app(scope | {"headers": headers}, receive, send))

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]


@pytest.fixture
def face() -> Face:
    return Face()


def test_annotated_pod_gets_a_patch(face: Face) -> None:
    """A good pod is allowed, with a JSON patch."""
    answer = face.post(reviews.body())
    response = reviews.response(answer.content)
    assert answer.status_code == 200
    assert (response["uid"], response["allowed"]) == ("f0a1", True)
    assert response["patchType"] == "JSONPatch"
    assert reviews.patch(answer.content)


def test_pod_without_annotations_is_let_through(face: Face) -> None:
    """A pod that asks for nothing is allowed without a patch."""
    response = reviews.response(face.post(reviews.body(reviews.pod({}))).content)
    assert response["allowed"]
    assert "patch" not in response


def test_denial_names_every_wrong_annotation(face: Face) -> None:
    """One message tells about all problems, with value, rule and example."""
    wrong = {"s3.mount/bucket": "A", "s3.mount/path": "tmp", "s3.mount/uid": "me"}
    response = reviews.response(face.post(reviews.body(reviews.pod(wrong))).content)
    message = response["status"]["message"]
    assert not response["allowed"]
    for key, value in wrong.items():
        assert f'{key}: "{value}"' in message
    assert message.count("Example: ") == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 90_000, b'{"kind":"AdmissionReview"}', b"1" * 5000],
    ids=["empty", "cut", "list", "null", "no-utf8", "deep", "bare", "long-number"],
)
def test_unreadable_envelope_is_a_400(face: Face, content: bytes) -> None:
    """What isn't an AdmissionReview gets 400 and a sentence."""
    answer = face.post(content)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("uid", 7), ("uid", ""), ("kind", "Pod"), ("object", []), ("object", None)),
        *(("namespace", {}), ("object", {"metadata": "x"}), ("object", {"metadata": ["x"]})),
    ],
)
def test_wrong_type_in_the_envelope_is_a_400(face: Face, field: str, value: Any) -> None:
    """Every field of the envelope that matters is checked."""
    assert face.post(reviews.body(**{field: value})).status_code == 400


def test_body_must_say_it_is_json(face: Face) -> None:
    """Another content type gets 415; parameters of the right one don't matter."""
    assert face.post(reviews.body(), "text/plain").status_code == 415
    assert face.post(reviews.body(), "application/json; charset=utf-8").status_code == 200


def test_body_has_a_limit(face: Face) -> None:
    """More bytes than allowed get 413, with and without a declared length."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10_000

    assert face.post(b" " * 100_001).status_code == 413
    assert face.post(chunks()).status_code == 413


def test_body_has_a_deadline(face: Face) -> None:
    """A body that doesn't come to an end gets 408."""

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    assert face.post(never()).status_code == 408


def test_body_that_ends_early_is_counted(face: Face) -> None:
    """A client that closes its connection within the body is neither a review nor a bug."""

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    face.answer_to(receive)
    assert 'rejected_requests_total{status="400"} 1.0' in face.metrics.rendered()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/mutate", 405), ("POST", "/mutates", 404)]
)
def test_reviews_are_posted_to_one_path(face: Face, method: str, path: str, status: int) -> None:
    """Any other method or path gets the error of HTTP for it."""
    assert face.send(method, path, headers=JSON).status_code == status


def test_timeout_of_the_api_server_is_no_part_of_the_path(face: Face) -> None:
    """It adds `?timeout=5s` to the path of each review."""
    assert face.send("POST", "/mutate?timeout=5s", content=reviews.body(), headers=JSON).is_success


def test_ready_until_a_condition_fails(face: Face) -> None:
    """/readyz tells why it isn't ready; /healthz stays."""
    assert face.send("GET", "/readyz").status_code == 200
    face.health.fail("certificate", "none yet")
    assert face.send("GET", "/readyz").json()["reasons"] == {"certificate": "none yet"}
    assert face.send("GET", "/readyz").status_code == 503
    assert face.send("GET", "/healthz").status_code == 200


def test_trouble_is_told_and_nothing_more(face: Face) -> None:
    """A policy file that is broken later leaves the replica in the Service; /readyz names it."""
    face.health.trouble("policy", "rules must be a list")
    answer = face.send("GET", "/readyz")
    assert answer.status_code == 200
    assert answer.json()["troubles"] == {"policy": "rules must be a list"}


def test_draining_server_sends_its_clients_away(face: Face) -> None:
    """While it drains a server answers, and closes the connection behind the answer."""
    face.health.drain()
    answer = face.post(reviews.body())
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"


def test_log_line_says_who_and_what(face: Face) -> None:
    """A review leaves one line with uid, namespace, name, owner, decision and time."""
    pod = reviews.pod()
    pod["metadata"] |= {"generateName": "web-", "ownerReferences": [{"kind": "Job", "name": "web"}]}
    face.post(reviews.body(pod))
    (line,) = face.log()
    assert line.items() >= {"uid": "f0a1", "namespace": "shop", "name": "web"}.items()
    assert line.items() >= {"generateName": "web-", "owner": "Job/web"}.items()
    assert line["decision"] == "injected"
    assert line["ms"] > 0


def test_log_never_holds_the_pod(face: Face) -> None:
    """What an environment variable of the pod says never reaches the log."""
    pod = reviews.pod()
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
    face.post(reviews.body(pod))
    pod["spec"]["containers"][0]["volumeMounts"] = "hunter2"
    face.post(reviews.body(pod))
    assert "hunter2" not in json.dumps(face.log())


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (reviews.BUCKET, {"decision": "injected", "mounts": "default=my-bucket:/var/s3"}),
        ({"s3.mount/bucket": "A"}, {"decision": "denied", "reason": "invalid"}),
        ({}, {"decision": "skipped", "reason": "not-asked"}),
        (
            reviews.BUCKET | {"kubernetes.io/config.mirror": "x"},
            {"decision": "skipped", "reason": "mirror-pod"},
        ),
    ],
    ids=["injected", "denied", "skipped", "mirror"],
)
def test_audit_log_is_told(
    face: Face, annotations: dict[str, str], expected: dict[str, str]
) -> None:
    """The API server's audit log gets decision, reason, mounts and version, all of them text."""
    response = reviews.response(face.post(reviews.body(reviews.pod(annotations))).content)
    audit = response["auditAnnotations"]
    assert audit.items() >= (expected | {"version": __version__}).items()
    assert all(isinstance(value, str) for value in audit.values())


def test_errors_are_counted_from_zero(face: Face) -> None:
    """Else the first one, with which its series would begin, is no increase for an alert."""
    text = face.metrics.rendered()
    assert 'reviews_total{decision="error",reason="bug"} 0.0' in text


def test_every_review_is_counted(face: Face) -> None:
    """The metrics tell decisions apart."""
    for pod in (reviews.pod(), reviews.pod({}), reviews.pod({"s3.mount/bucket": "A"})):
        face.post(reviews.body(pod))
    face.post(b"{")
    text = face.metrics.rendered()
    assert 'reviews_total{decision="injected",reason=""} 1.0' in text
    assert 'reviews_total{decision="skipped",reason="not-asked"} 1.0' in text
    assert 'reviews_total{decision="denied",reason="invalid"} 1.0' in text
    assert 'rejected_requests_total{status="400"} 1.0' in text
