"""The product in the cluster: `deploy/` with the image under test, applied by kubectl."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster, Said, until
from tests.sources import REPOSITORY

SYSTEM = "s3mount-system"
DEPLOYMENT = "s3mount-webhook"
CONFIGURATION = "mount-s3-injector"


@dataclass(frozen=True)
class Installation:
    """One copy of `deploy/`, and the cluster it is applied to."""

    cluster: Cluster
    directory: Path
    image: str

    def __post_init__(self) -> None:
        """Copy the manifests and name the image in the one place that has it."""
        shutil.copytree(REPOSITORY / "deploy", self.directory, dirs_exist_ok=True)
        self.use(self.image)

    def use(self, image: str) -> None:
        """Name an image in deploy/image, as docs/install.md says."""
        name, _, tag = image.rpartition(":")
        path = self.directory / "image" / "kustomization.yaml"
        lines = (REPOSITORY / "deploy" / "image" / "kustomization.yaml").read_text().splitlines()
        values = {"newName": name, "newTag": tag}
        path.write_text("\n".join(_with_value(line, values) for line in lines) + "\n")

    def apply(self, overlay: str = ".") -> Said:
        """`kubectl apply -k` one overlay."""
        return self.cluster.kubectl("apply", "-k", str(self.directory / overlay))

    def install(self, overlay: str = ".") -> None:
        """Apply an overlay, and wait until the webhook answers reviews."""
        until("no namespace on its way out", lambda: "Terminating" not in self._namespace(), 120)
        said = self.apply(overlay)
        assert said.code == 0, said.err
        self.until_rolled_out()
        until("caBundle set", self.ca_bundle, 60)

    def until_rolled_out(self, seconds: int = 120) -> None:
        """Wait for the rollout, as docs/install.md says."""
        self.cluster.must(
            *("-n", SYSTEM, "rollout", "status", f"deployment/{DEPLOYMENT}"),
            f"--timeout={seconds}s",
            seconds=seconds + 10,
        )

    def ca_bundle(self) -> str:
        """Return the caBundle of the webhook's configuration."""
        path = "jsonpath={.webhooks[0].clientConfig.caBundle}"
        return self.cluster.kubectl(
            "get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", path
        ).out

    def uninstall(self, overlay: str = ".") -> None:
        """Remove it as docs/install.md says: first what reviews are sent to, then the rest."""
        delete = ("delete", "--ignore-not-found")
        self.cluster.must(*delete, "mutatingwebhookconfiguration", CONFIGURATION)
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            self.cluster.must(*delete, kind, "-l", "app.kubernetes.io/name=s3mount")
        self.cluster.must(*delete, "-k", str(self.directory / overlay), seconds=180)
        until("namespace gone", lambda: not self._namespace(), 120)

    def _namespace(self) -> str:
        return self.cluster.kubectl("get", "namespace", SYSTEM, "--ignore-not-found").out.strip()


def _with_value(line: str, values: dict[str, str]) -> str:
    key, colon, _ = line.partition(":")
    return f"{key}: {values[key.strip()]}" if colon and key.strip() in values else line
