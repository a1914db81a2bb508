"""What the plugin is told, and the paths that kubelet and plugin agree on. Immutable."""

from dataclasses import dataclass
from pathlib import Path

NAME = "s3.mount"  # of the driver
KUBELET = "/var/lib/kubelet"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a plugin is told. Paths below `kubelet` are the same for the kubelet and for us."""

    node: str  # the node's name
    kubelet: str  # the kubelet's --root-dir
    key_file: Path  # keys of the webhook's signature
    worker_uid: int  # the user of workers, as the webhook writes it

    @property
    def pods(self) -> str:
        """The directory with a directory for each pod."""
        return f"{self.kubelet}/pods"

    @property
    def plugin(self) -> str:
        """The directory of our socket."""
        return f"{self.kubelet}/plugins/{NAME}"

    @property
    def registration(self) -> str:
        """The socket by which a kubelet finds us: it watches this directory."""
        return f"{self.kubelet}/plugins_registry/{NAME}-reg.sock"
