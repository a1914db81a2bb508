"""What the kubelet will run: who holds which right, and what each container is told."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.pod.containers import sidecars
from webhook.review import admission
from webhook.review.decision import Decider, Injected
from webhook.spec.mountspec import asking, read

TWO = {
    "s3.mount/bucket": "my-bucket",
    "s3.mount/secret": "my-credentials",
    "s3.mount/bucket.models": "my-models",
    "s3.mount/path.models": "/models",
    "s3.mount/read-only.models": "true",
}


def injected(annotations: dict[str, str], **spec: Any) -> dict[str, Any]:
    """The spec of the pod that would run."""
    pod = reviews.pod(annotations, **spec)
    decision = Decider(Platform()).decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    found: dict[str, Any] = admission.apply(pod, decision.patch)["spec"]
    return found


def expanded(text: str) -> str:
    """What the kubelet makes of a value when no variable it names exists before it."""
    return re.sub(r"\$\$", "$", text)


def config(container: dict[str, Any]) -> dict[str, Any]:
    (value,) = [item["value"] for item in container["env"] if item["name"] == "S3MOUNT_CONFIG"]
    found: dict[str, Any] = json.loads(expanded(value))
    return found


@pytest.fixture
def keeper() -> dict[str, Any]:
    return injected(TWO)["initContainers"][0]


@pytest.fixture
def worker() -> dict[str, Any]:
    return injected(TWO)["initContainers"][1]


def test_keeper_knows_no_bucket_and_no_credentials(keeper: dict[str, Any]) -> None:
    """The privileged container has nothing worth stealing."""
    volumes = {mount["name"] for mount in keeper["volumeMounts"]}
    assert volumes == {"s3-mount-bus", "s3-mount-socket", "s3-mount-no-token"}
    assert [sorted(mount) for mount in config(keeper)["mounts"]] == [
        ["mountpoint", "name", "partition", "readOnly"],
        ["mountpoint", "name", "partition", "readOnly"],
    ]
    assert "my-bucket" not in json.dumps(keeper)


def test_worker_has_no_rights_and_no_mount(worker: dict[str, Any]) -> None:
    """The container that talks to S3 can't mount, and can't block on its own mount.

    Of the bus it sees the directory below the mounts' tmpfs: a subPath is not bound recursively.
    """
    context = worker["securityContext"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert (context["runAsUser"], context["runAsNonRoot"]) == (65534, True)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["readOnlyRootFilesystem"]
    (bus,) = [mount for mount in worker["volumeMounts"] if mount["name"] == "s3-mount-bus"]
    assert bus == {"name": "s3-mount-bus", "mountPath": "/gate", "subPath": ".gate"}


def test_neither_sidecar_has_the_token_of_the_pods_service_account() -> None:
    """The API server gives it to every container that has nothing mounted in its place."""
    spec = injected(TWO)
    for container in spec["initContainers"]:
        (mount,) = [m for m in container["volumeMounts"] if "serviceaccount" in m["mountPath"]]
        assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
        assert mount["readOnly"]
        (volume,) = [v for v in spec["volumes"] if v["name"] == mount["name"]]
        assert volume.keys() == {"name", "emptyDir"}


def test_the_bus_is_in_memory() -> None:
    """A kubelet that finds a deleted pod empties a directory on disk, through the live mount.

    One in memory it unmounts first, is told EBUSY, and leaves the bucket's objects alone.
    """
    (bus,) = [v for v in injected(TWO)["volumes"] if v["name"] == "s3-mount-bus"]
    assert bus["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}


def test_worker_is_told_everything(worker: dict[str, Any]) -> None:
    """One document with all mounts, every value final."""
    document = config(worker)
    default, models = document["mounts"]
    assert document["version"] == 1
    assert (default["bucket"], models["bucket"]) == ("my-bucket", "my-models")
    assert default["credentialsDir"] == "/etc/s3mount/credentials/default"
    assert models["credentialsDir"] is None
    assert (models["mountpoint"], models["readOnly"]) == ("/bus/models", True)


def test_only_the_keeper_propagates_mounts() -> None:
    """No other container has a Bidirectional mount."""
    spec = injected(TWO)
    found = [
        container["name"]
        for container in (*spec["initContainers"], *spec["containers"])
        for mount in container["volumeMounts"]
        if mount.get("mountPropagation") == "Bidirectional"
    ]
    assert found == ["s3-mount-keeper"]


def test_pod_security_context_does_not_leak_in() -> None:
    """Whatever the pod sets for all its containers, ours say for themselves."""
    pod_wide = {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True}
    for container in injected(TWO, securityContext=pod_wide)["initContainers"]:
        assert pod_wide.keys() <= container["securityContext"].keys()


def test_credentials_are_readable_to_the_worker_alone() -> None:
    """The Secret's files can be read by any user, and only the worker mounts them."""
    spec = injected(TWO)
    (volume,) = [v for v in spec["volumes"] if v["name"] == "s3-mount-credentials"]
    holders = [
        container["name"]
        for container in (*spec["initContainers"], *spec["containers"])
        if "s3-mount-credentials" in {mount["name"] for mount in container["volumeMounts"]}
    ]
    assert volume["secret"] == {"secretName": "my-credentials", "defaultMode": 0o444}
    assert holders == ["s3-mount-worker"]


@given(
    st.text(
        st.characters(exclude_categories=("C",), exclude_characters="/"), min_size=1, max_size=20
    )
)
def test_any_prefix_reaches_the_worker_unchanged(prefix: str) -> None:
    """No text is expanded, cut or escaped on its way through the kubelet."""
    pod = reviews.pod(reviews.BUCKET | {"s3.mount/prefix": prefix})
    wanted, problems = read(asking(pod), Platform())
    if not problems:
        worker = sidecars(wanted, Platform(), ambient=False, metrics_port=None)[1]
        assert config(worker)["mounts"][0]["prefix"] == prefix + "/"


def test_document_fits_into_a_variable() -> None:
    """The longest configuration stays below the kernel's limit for one variable, 128 KiB."""
    annotations = {}
    for number in range(Platform().maximum_mounts):
        annotations |= {
            f"s3.mount/bucket.m{number}": "a" * 63,
            f"s3.mount/path.m{number}": f"/m{number}",
            f"s3.mount/prefix.m{number}": '"' * 899,
            f"s3.mount/options.m{number}": "fsname=" + '"' * 2000,
        }
    worker = injected(annotations)["initContainers"][1]
    assert all(len(item["value"]) < 128 * 1024 for item in worker["env"])
