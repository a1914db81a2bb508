"""Kubernetes' client against an API server over HTTP: what is sent, and what errors become."""

import base64
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client

from certs.cluster import KubernetesCluster, connect
from certs.errors import Conflict, Missing, Unreachable
from tests.certs.api_server import CONFIGURATION, SECRETS, ApiServer, serving
from tests.deploy.rendered import one

PATH = CONFIGURATION + "mount-s3-injector"
SECRET = f"{SECRETS}/s3mount-webhook-ca"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server to which the manifests were applied."""
    with serving() as running:
        running.put(PATH, one("MutatingWebhookConfiguration", "mount-s3-injector"))
        yield running


@pytest.fixture
def cluster(server: ApiServer) -> Iterator[KubernetesCluster]:
    """Our client of it."""
    settings = client.Configuration(host=server.url)
    settings.retries = 0
    with client.ApiClient(settings) as api:
        yield KubernetesCluster(api, "s3mount-system", "s3mount-webhook-ca", "mount-s3-injector")


def webhook(server: ApiServer) -> dict[str, Any]:
    """The one webhook as it is stored."""
    (found,) = server.objects[PATH]["webhooks"]
    return found


def test_the_shipped_configuration_has_no_bundle_and_the_answer_a_date(cluster):
    """The state after the first apply."""
    live = cluster.read_bundles()
    assert live.bundles == {"inject.s3.mount": b""}
    assert abs(live.date - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_patch_changes_the_bundle_and_nothing_else(cluster, server):
    """A patch that replaced the list of webhooks would drop rules and selectors."""
    before = webhook(server)
    cluster.write_bundles(cluster.read_bundles(), b"PEM")
    expected = {**before["clientConfig"], "caBundle": base64.b64encode(b"PEM").decode()}
    assert webhook(server) == {**before, "clientConfig": expected}
    assert cluster.read_bundles().bundles == {"inject.s3.mount": b"PEM"}


def test_a_patch_of_an_old_version_conflicts(cluster, server):
    """Somebody changed the configuration after it was read."""
    live = cluster.read_bundles()
    server.put(PATH, server.objects[PATH])
    with pytest.raises(Conflict):
        cluster.write_bundles(live, b"PEM")
    assert "caBundle" not in webhook(server)["clientConfig"]


def test_the_secret_is_created_read_and_replaced(cluster):
    """Bytes go in and the same bytes come out."""
    assert cluster.read_secret() is None
    cluster.create_secret({"ca.crt": b"one"})
    cluster.replace_secret(cluster.read_secret(), {"ca.crt": b"\x00two"})
    assert cluster.read_secret().data == {"ca.crt": b"\x00two"}


def test_who_comes_second_meets_a_conflict(cluster, server):
    """At the creation and at a replacement, and when the Secret is deleted meanwhile."""
    cluster.create_secret({"ca.crt": b"one"})
    with pytest.raises(Conflict):
        cluster.create_secret({"ca.crt": b"two"})
    old = cluster.read_secret()
    cluster.replace_secret(old, {"ca.crt": b"three"})
    with pytest.raises(Conflict):
        cluster.replace_secret(old, {"ca.crt": b"four"})
    del server.objects[SECRET]
    with pytest.raises(Conflict):
        cluster.replace_secret(old, {"ca.crt": b"five"})


def test_no_configuration_and_no_webhooks_are_missing(cluster, server):
    """Both say what to do."""
    server.objects[PATH]["webhooks"] = []
    with pytest.raises(Missing, match="has no webhooks; apply the manifests again"):
        cluster.read_bundles()
    del server.objects[PATH]
    with pytest.raises(Missing, match="mount-s3-injector doesn't exist"):
        cluster.read_bundles()


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_a_refusal_is_unreachable_with_its_status(cluster, server, status):
    """The message has the status; rights have a hint."""
    server.fail = status
    with pytest.raises(Unreachable, match=f"refused: {status}") as caught:
        cluster.read_secret()
    assert ("rbac.yaml" in str(caught.value)) == (status in (401, 403))


def test_no_answer_is_unreachable():
    """A closed port, without retries that would hold up the round."""
    with serving() as gone:
        settings = client.Configuration(host=gone.url)
    settings.retries = 0
    with client.ApiClient(settings) as api:
        cluster = KubernetesCluster(api, "s3mount-system", "s", "w")
        with pytest.raises(Unreachable, match="doesn't answer"):
            cluster.read_bundles()


def test_data_that_is_not_base64_is_garbage_not_a_crash(cluster, server):
    """A hand-made Secret can hold anything."""
    server.put(SECRET, {"metadata": {"name": "s"}, "data": {"ca.crt": "%%%"}})
    assert cluster.read_secret().data == {"ca.crt": b"not base64"}


def test_a_malformed_token_never_shows_in_the_message(server):
    """The HTTP library quotes a header that it refuses."""
    settings = client.Configuration(host=server.url, api_key={"authorization": "Bearer hush\n"})
    with client.ApiClient(settings) as api:
        cluster = KubernetesCluster(api, "s3mount-system", "s", "w")
        with pytest.raises(Unreachable, match="no usable request") as caught:
            cluster.read_bundles()
    shown = "".join(traceback.format_exception(caught.value))
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "Bearer" not in shown


def test_without_a_cluster_the_command_says_so(monkeypatch, tmp_path):
    """Neither in a pod nor with a kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Unreachable, match="no way to reach an API server"):
        connect()
