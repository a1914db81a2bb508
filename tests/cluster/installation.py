"""The product in the cluster: `deploy/` with the image under test, applied by kubectl."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusefs.node.settings import KUBELET
from tests.cluster.cluster import Cluster, Manifest, Said, until
from tests.cluster.modes import NODE, Mode
from tests.sources import REPOSITORY

SYSTEM = "s3mount-system"
DEPLOYMENT = "s3mount-webhook"
PLUGIN = "s3mount-node"
CONFIGURATION = "mount-s3-injector"
LABEL = "app.kubernetes.io/name=s3mount"
# Every kind of which something of ours may exist outside namespaces.
KINDS = (
    "namespace,clusterrole,clusterrolebinding,priorityclass,mutatingwebhookconfiguration,"
    "validatingadmissionpolicy,validatingadmissionpolicybinding,customresourcedefinition,csidriver"
)


@dataclass(frozen=True)
class Installation:
    """One copy of `deploy/`, and the cluster it is applied to."""

    cluster: Cluster
    directory: Path
    image: str
    mode: Mode = Mode()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        """Copy the manifests, name the image in the one place that has it, and the kubelet's."""
        shutil.copytree(REPOSITORY / "deploy", self.directory, dirs_exist_ok=True)
        self.use(self.image)
        plugin = self.directory / "node" / "plugin.yaml"
        plugin.write_text(plugin.read_text().replace(KUBELET, self.mode.kubelet))

    def use(self, image: str) -> None:
        """Name an image in deploy/image, as docs/install.md says."""
        name, _, tag = image.rpartition(":")
        path = self.directory / "image" / "kustomization.yaml"
        lines = (REPOSITORY / "deploy" / "image" / "kustomization.yaml").read_text().splitlines()
        values = {"newName": name, "newTag": tag}
        path.write_text("\n".join(_with_value(line, values) for line in lines) + "\n")

    def apply(self, overlay: str = "") -> Said:
        """`kubectl apply -k` one overlay, the mode's if none is named; it has to succeed."""
        directory = self.directory / (overlay or self.mode.overlay)
        said = self.cluster.kubectl("apply", "-k", str(directory))
        assert said.code == 0, said.err
        return said

    def ensure(self) -> None:
        """Install it unless it is there."""
        if self.cluster.get("deployment", DEPLOYMENT, SYSTEM) is None:
            self.install()
        self.until_rolled_out()

    def install(self) -> None:
        """Apply the manifests, and wait until the webhook answers reviews."""
        until("no namespace on its way out", lambda: not self._namespace(), 120)
        if self.mode.name == NODE:
            self._make_key()
        self.apply()
        self.until_rolled_out()
        until("caBundle set", self.ca_bundle, 60)

    @contextmanager
    def variant(self, overlay: str) -> Iterator[None]:
        """Have an overlay in place of the installation for a while."""
        self.apply(overlay)
        self.until_rolled_out()
        try:
            yield
        finally:
            self.apply()
            self.until_rolled_out()

    @contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """Give the webhook a setting for a while."""
        words = ("-n", SYSTEM, "set", "env", f"deployment/{DEPLOYMENT}", "-c", "webhook")
        self.cluster.must(*words, f"{name}={value}")
        self.until_rolled_out()
        # An API server's open connection may lead to an old replica until that is gone.
        until("old replicas gone", lambda: not self._leaving(), 120)
        try:
            yield
        finally:
            self.cluster.must(*words, f"{name}-")
            self.until_rolled_out()

    def restart(self) -> None:
        """Start all replicas again: they read a changed policy at once then."""
        self.cluster.must("-n", SYSTEM, "rollout", "restart", f"deployment/{DEPLOYMENT}")
        self.until_rolled_out()

    def until_rolled_out(self, seconds: int = 180) -> None:
        """Wait for the rollout, as docs/install.md says; old replicas may be on their way out."""
        self.cluster.must(
            *("-n", SYSTEM, "rollout", "status", f"deployment/{DEPLOYMENT}"),
            f"--timeout={seconds}s",
            seconds=seconds + 10,
        )
        if self.mode.name == NODE:
            self.until_plugins_rolled_out()

    def until_plugins_rolled_out(self, seconds: int = 180) -> None:
        """Wait for the rollout of the plugins of node mode."""
        self.cluster.must(
            *("-n", SYSTEM, "rollout", "status", f"daemonset/{PLUGIN}"),
            f"--timeout={seconds}s",
            seconds=seconds + 10,
        )

    def plugin(self) -> Manifest:
        """Return the pod of the plugin, the only one that isn't on its way out."""
        found = self.cluster.pods(SYSTEM, "app.kubernetes.io/component=node")
        (running,) = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return running

    def _make_key(self) -> None:
        """Make the key that webhook and plugins share, as docs/node.md says."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3mount-node-key", "namespace": SYSTEM},
            "stringData": {"key": secrets.token_hex(32)},
        }
        for body in (namespace, secret):
            said = self.cluster.apply(body)
            assert said.code == 0, said.err

    def scale(self, replicas: int) -> None:
        """Set the number of replicas, and wait for it."""
        self.cluster.must(
            *("-n", SYSTEM, "scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
        )
        until("replicas", lambda: len(self.replicas()) == replicas, 90)
        self.until_rolled_out()

    def replicas(self) -> list[Manifest]:
        """Return the pods of the webhook, without those that are on their way out."""
        found = self.cluster.pods(SYSTEM, LABEL)
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def _leaving(self) -> bool:
        selector = f"{LABEL},app.kubernetes.io/component=webhook"
        found = self.cluster.pods(SYSTEM, selector)
        return any("deletionTimestamp" in each["metadata"] for each in found)

    def ca_bundle(self) -> str:
        """Return the caBundle of the webhook's configuration."""
        path = "jsonpath={.webhooks[0].clientConfig.caBundle}"
        return self.cluster.kubectl(
            "get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", path
        ).out

    def changes(self) -> dict[str, int | str]:
        """Return the generation of each object, or its version where it has none."""
        text = self.cluster.must("get", "-k", str(self.directory), "-o", "json")
        return {
            f"{each['kind']}/{each['metadata']['name']}": each["metadata"].get(
                "generation", each["metadata"]["resourceVersion"]
            )
            for each in json.loads(text)["items"]
        }

    def left(self) -> str:
        """Return the names of what is in the cluster of the product, outside of namespaces."""
        return self.cluster.must("get", KINDS, "-l", LABEL, "-o", "name").strip()

    def uninstall(self) -> None:
        """Run the commands of docs/install.md, and wait for the end of the namespace."""
        text = (REPOSITORY / "docs" / "install.md").read_text().partition("\n## Uninstall\n")[2]
        for line in re.findall(r"^kubectl (.*)$", text.partition("\n```\n")[0], re.MULTILINE):
            ours = str(self.directory / self.mode.overlay)
            words = [ours if word == "deploy/" else word for word in _words(line)]
            self.cluster.must(*words, seconds=180)
        until("namespace gone", lambda: not self._namespace(), 120)

    def _namespace(self) -> str:
        return self.cluster.kubectl("get", "namespace", SYSTEM, "--ignore-not-found").out.strip()


def _words(line: str) -> list[str]:
    # What was removed already is no error here, so that a failed run can be cleaned up.
    return [*shlex.split(line), "--ignore-not-found"]


def _with_value(line: str, values: dict[str, str]) -> str:
    key, colon, _ = line.partition(":")
    return f"{key}: {values[key.strip()]}" if colon and key.strip() in values else line
