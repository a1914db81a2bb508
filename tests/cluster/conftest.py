"""What the checks share: the cluster, the installation, the store, a namespace for each check."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import modes, pods
from tests.cluster.cluster import Cluster, Manifest, until
from tests.cluster.installation import Installation
from tests.cluster.node import Node
from tests.cluster.store import store_of
from tests.servers.s3 import Bucket, Endpoint


@dataclass(frozen=True)
class Place:
    """A namespace of one check, its bucket, and the pods it makes."""

    cluster: Cluster
    node: Node | None
    namespace: str
    bucket: Bucket
    image: str
    mode: str = modes.POD

    def notes(self, name: str = "", **more: str) -> dict[str, str]:
        """Return the annotations that mount the bucket."""
        told = {"bucket": self.bucket.name, "endpoint": self.bucket.endpoint.url, **more}
        return pods.annotations(name, **told)

    def template(
        self, command: list[str] | None = None, notes: dict[str, str] | None = None, **spec: object
    ) -> Manifest:
        """Return a template of a pod that mounts the bucket at /data."""
        notes = self.notes() if notes is None else notes
        made = pods.template(notes, self.image, command, **spec)
        return pods.restricted(made) if self.mode == modes.NODE else made

    def start(
        self, name: str, template: Manifest | None = None, *, seconds: float = 90
    ) -> Manifest:
        """Create a pod, wait until it is Ready, and return it."""
        self.cluster.create(pods.pod(name, self.namespace, template or self.template()))
        self.cluster.until_ready(self.namespace, name, seconds=seconds)
        return self.pod(name)

    def pod(self, name: str) -> Manifest:
        """Return a pod that is there."""
        found = self.cluster.pod(self.namespace, name)
        assert found is not None, f"no pod {name}"
        return found

    def sh(self, name: str, script: str, container: str = "app") -> str:
        """Run a shell script in a pod."""
        return self.cluster.sh(self.namespace, name, script, container)

    def refusal(self) -> str:
        """Return why a pod with the bucket isn't admitted, "" where it is; none is created."""
        return self.cluster.refusal(pods.pod("refusal", self.namespace, self.template()))

    def end(self, *names: str, grace: int | None = None, seconds: float = 90) -> None:
        """Delete pods and wait until they are gone."""
        self.cluster.delete(self.namespace, *names, grace=grace)
        self.cluster.until_gone(self.namespace, *names, seconds=seconds)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG names."""
    return Cluster(os.environ["KUBECONFIG"])


@pytest.fixture(scope="session")
def image() -> str:
    """The image under test; its nodes have it or can pull it."""
    return os.environ["IMAGE"]


@pytest.fixture(scope="session")
def node() -> Node | None:
    """Access to the node, where E2E_NODE names a program for it."""
    return Node(os.environ["E2E_NODE"]) if os.environ.get("E2E_NODE") else None


@pytest.fixture
def the_node(node: Node | None) -> Node:
    """Access to the node; a check that needs it says so in the table."""
    if node is None:
        pytest.skip("needs E2E_NODE, a program that reaches the node (docs/testing.md)")
    return node


@pytest.fixture(scope="session")
def store() -> Iterator[Endpoint]:
    """The S3 server that pods and this machine reach at one address."""
    with store_of(os.environ) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def product(cluster: Cluster, image: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The installed product; `__main__` removes it."""
    mode = modes.Mode.told(os.environ)
    installation = Installation(cluster, tmp_path_factory.mktemp("deploy"), image, mode)
    # The directory above is shared by the workers of pytest-xdist: one of them installs.
    with (tmp_path_factory.getbasetemp().parent / "installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installation.ensure()
    return installation


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    product: Installation,
    store: Endpoint,
    node: Node | None,
) -> Iterator[Place]:
    """A namespace and a bucket for one check; both are gone afterwards."""
    words = re.findall(r"[a-z0-9]+", request.node.name.removeprefix("test_").lower())
    name = f"e2e-{'-'.join(words)[:40].rstrip('-')}-{secrets.token_hex(3)}"
    mode = product.mode.name
    cluster.create(pods.namespace(name, enforce=modes.ENFORCED[mode]))
    keys = store.credentials
    cluster.create(pods.secret(name, keys.access_key, keys.secret_key))
    bucket = store.create_bucket(name)
    yield Place(cluster, node, name, bucket, product.image, mode)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    until(f"no pod in {name}", lambda: not cluster.pods(name), 120)
    bucket.destroy()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every check, so that `make test` leaves them out; and give each time for a cluster."""
    here = str(Path(__file__).parent)
    mode = modes.Mode.told(os.environ).name
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.cluster)
            if why := modes.left_out(item.path.stem, item.name, mode):
                item.add_marker(pytest.mark.skip(reason=why))
            item.add_marker(pytest.mark.timeout(600))
