"""What is wrong is refused, or never Ready, and kubectl says why."""

from __future__ import annotations

import pytest

from tests.cluster import pods
from tests.cluster.cluster import Late, is_ready, until
from tests.cluster.conftest import Place

# What is wrong with a mount, and what `kubectl describe pod` says of it.
WRONG = {
    "bucket": ({"bucket": "nobody-has-this-bucket"}, ("bucket", "nobody-has-this-bucket")),
    "key": ({"secret": "wrong-key"}, ("credentials", "denied", "AccessKey", "InvalidAccessKeyId")),
    "endpoint": ({"endpoint": "http://198.51.100.1:9"}, ("198.51.100.1:9", "reach")),
}
DENIED = {
    "misspelt": ({"s3.mount/bukcet": "data"}, "bukcet"),
    "quantity": ({"s3.mount/bucket": "data", "s3.mount/cache-size": "big"}, "cache-size"),
    "relative path": ({"s3.mount/bucket": "data", "s3.mount/path": "data"}, "path"),
    "no container": ({"s3.mount/bucket": "data", "s3.mount/containers": "absent"}, "absent"),
    "option": ({"s3.mount/bucket": "data", "s3.mount/options": "no_such_option"}, "no_such_option"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_mount_is_never_ready(place: Place, what: str) -> None:
    """Through two starts of its worker the pod isn't Ready, and describe names the reason."""
    changed, reasons = WRONG[what]
    place.cluster.create(pods.secret(place.namespace, "wrong", "wrong", "wrong-key"))
    template = place.template(notes=place.notes(**changed))
    place.cluster.create(pods.pod("wrong", place.namespace, template))

    def restarted() -> bool:
        assert not is_ready(place.cluster.pod(place.namespace, "wrong"))
        status = place.pod("wrong").get("status", {}).get("initContainerStatuses", [])
        return any(each["restartCount"] >= 2 for each in status)

    until("two restarts", restarted, 240)
    described = place.cluster.describe(place.namespace, "wrong")
    assert any(reason.lower() in described.lower() for reason in reasons), described
    place.end("wrong")


def test_no_secret(place: Place) -> None:
    """A Secret that isn't there keeps the pod waiting, and describe names it."""
    template = place.template(notes=place.notes(secret="absent-secret"))
    place.cluster.create(pods.pod("waiting", place.namespace, template))
    described = lambda: place.cluster.describe(place.namespace, "waiting")  # noqa: E731
    until("the Secret named", lambda: "absent-secret" in described(), 60)
    with pytest.raises(Late):
        place.cluster.until_ready(place.namespace, "waiting", seconds=5)
    place.end("waiting")


@pytest.mark.parametrize("what", DENIED)
def test_denials_name_what_is_wrong(place: Place, what: str) -> None:
    """kubectl prints the denial, with the annotation and what to do."""
    notes, named = DENIED[what]
    said = place.cluster.apply(pods.pod("denied", place.namespace, place.template(notes=notes)))
    assert said.code != 0
    assert named in said.err
    assert "denied the request" in said.err


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_refuses(place: Place, level: str) -> None:
    """In a namespace that doesn't admit privileged pods the refusal names Pod Security."""
    name = f"{place.namespace}-{level}"
    place.cluster.create(pods.namespace(name, enforce=level))
    said = place.cluster.apply(pods.pod("refused", name, place.template()))
    place.cluster.must("delete", "namespace", name, "--wait=false")
    assert said.code != 0
    assert "PodSecurity" in said.err


def test_an_unlabelled_namespace_warns(place: Place) -> None:
    """An annotation that nobody will see is answered with a warning."""
    name = f"{place.namespace}-off"
    place.cluster.create(pods.namespace(name, injection=False))
    said = place.cluster.apply(pods.pod("plain", name, place.template()))
    place.cluster.must("delete", "namespace", name, "--wait=false")
    assert said.code == 0
    assert "s3.mount/injection" in said.err
