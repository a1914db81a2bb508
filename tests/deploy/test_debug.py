"""The guard of shells and ephemeral containers."""

import copy
from typing import Any

import pytest

from tests.deploy.cel import Request
from tests.deploy.guards import ANYBODY, LISTED, POD, guard

RESOURCE = "pods/ephemeralcontainers"
VOLUMES = ["bus", "socket", "cache", "credentials", "no-token"]
DEBUG = {"name": "s3-mount-debug-1"}
PRIVILEGED = [
    {"privileged": True},
    {"capabilities": {"add": ["SYS_ADMIN"]}},
    {"capabilities": {"add": ["NET_ADMIN", "ALL"]}},
]


def connect(container: str | None, resource: str, *groups: str) -> Request:
    """An exec or attach."""
    options = {"command": ["sh"]} | ({"container": container} if container else {})
    return Request("CONNECT", options, resource=resource, groups=groups, labels={})


def added(*groups: str, to: dict[str, Any] = POD, **fields: Any) -> Request:
    """An ephemeral container added to a pod."""
    new = copy.deepcopy(to)
    new["spec"].setdefault("ephemeralContainers", []).append({"name": "new"} | fields)
    return Request("UPDATE", new, copy.deepcopy(to), resource=RESOURCE, groups=groups)


@pytest.mark.parametrize("resource", ["pods/exec", "pods/attach"])
def test_nobody_gets_a_shell_in_the_keeper_but_the_listed_groups(resource):
    """In no namespace, label or not."""
    (message,) = guard("s3mount-debug", connect("s3-mount-keeper", resource, *ANYBODY))
    assert "only members of system:masters, s3mount:debuggers may exec into it" in message
    assert guard("s3mount-debug", connect("s3-mount-keeper", resource)) != []
    for group in ("system:masters", LISTED):
        request = connect("s3-mount-keeper", resource, "system:authenticated", group)
        assert guard("s3mount-debug", request) == []


@pytest.mark.parametrize("container", [None, "app", "s3-mount-worker", "s3-mount-keeper-2"])
@pytest.mark.parametrize("resource", ["pods/exec", "pods/attach"])
def test_other_containers_are_open_to_whoever_rbac_lets_in(container, resource):
    """The worker has no privilege that the application hasn't."""
    assert guard("s3mount-debug", connect(container, resource, *ANYBODY)) == []


def test_an_ephemeral_container_may_not_target_the_keeper():
    """It would share the keeper's processes."""
    fields = {"targetContainerName": "s3-mount-keeper"}
    message, _ = guard("s3mount-debug", added(*ANYBODY, **fields))
    assert "may exec into it, attach to it or debug it" in message
    assert guard("s3mount-debug", added(LISTED, **fields, **DEBUG)) == []


@pytest.mark.parametrize("target", [None, "app", "s3-mount-worker"])
def test_an_ephemeral_container_may_target_others(target):
    """Also in a pod where a debugger's one is still listed."""
    fields = {"targetContainerName": target} if target else {}
    assert guard("s3mount-debug", added(*ANYBODY, **fields)) == []
    theirs = {"name": "old", "targetContainerName": "s3-mount-keeper"}
    theirs |= {"securityContext": {"privileged": True}}
    before = {**POD, "spec": {**POD["spec"], "ephemeralContainers": [theirs]}}
    assert guard("s3mount-debug", added(*ANYBODY, to=before, **fields)) == []


@pytest.mark.parametrize("name", VOLUMES)
def test_an_ephemeral_container_may_not_mount_our_volumes(name):
    """The socket leads to the keeper, the others to the bucket and its credentials."""
    fields = {"volumeMounts": [{"name": f"s3-mount-{name}", "mountPath": "/x"}]}
    message, _ = guard("s3mount-debug", added(*ANYBODY, **fields))
    assert "mount the volumes of s3mount" in message
    assert guard("s3mount-debug", added(LISTED, **fields, **DEBUG)) == []
    theirs = {"volumeMounts": [{"name": "work", "mountPath": "/x"}]}
    assert guard("s3mount-debug", added(*ANYBODY, **theirs)) == []


@pytest.mark.parametrize("target", [{}, {"targetContainerName": "app"}], ids=str)
@pytest.mark.parametrize("context", PRIVILEGED, ids=str)
def test_an_ephemeral_container_may_not_be_privileged(context, target):
    """The namespace admits privileged containers for the mount alone."""
    fields = {"securityContext": context, **target}
    message, _ = guard("s3mount-debug", added(*ANYBODY, **fields))
    assert "privileged ephemeral container" in message
    assert guard("s3mount-debug", added(LISTED, **fields, **DEBUG)) == []


@pytest.mark.parametrize("resource", ["pods/exec", "pods/attach"])
def test_nobody_else_gets_into_what_a_debugger_added(resource):
    """It has rights over the mount, and a name by which the guard knows it."""
    fields = {"securityContext": {"privileged": True}}
    (message,) = guard("s3mount-debug", added(LISTED, **fields))
    assert "must have a name that begins with s3-mount-debug" in message
    assert guard("s3mount-debug", connect(DEBUG["name"], resource, *ANYBODY)) != []
    assert guard("s3mount-debug", connect(DEBUG["name"], resource, LISTED)) == []


def test_pods_without_a_mount_are_not_looked_at():
    """What others do in pods of their own is theirs; but not under our names."""
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "app"}]}}
    privileged = {"securityContext": {"privileged": True}}
    assert guard("s3mount-debug", added(*ANYBODY, to=pod, **privileged)) == []
    for groups in (ANYBODY, (LISTED,)):
        found = guard("s3mount-debug", added(*groups, to=pod, name="s3-mount-keeper"))
        assert found == ["the names of containers that begin with s3-mount- are the webhook's"]


@pytest.mark.parametrize("user", [None, ["a"]])
def test_a_request_without_groups_is_refused_not_failed(user):
    """An expression that failed would refuse too, with a text that helps nobody."""
    request = connect("s3-mount-keeper", "pods/exec", *(user or []))
    assert "may exec into it" in guard("s3mount-debug", request)[0]
