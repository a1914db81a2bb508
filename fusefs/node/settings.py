"""The settings of the plugin, and the paths that kubelet and plugin agree on. Immutable."""

import re
from dataclasses import dataclass
from pathlib import Path

NAME = "s3.mount"  # of the driver
KUBELET = "/var/lib/kubelet"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The settings of a plugin. Paths below `kubelet` are the same for the kubelet and for us."""

    node: str  # the node's name
    kubelet: str  # the kubelet's --root-dir
    key_file: Path  # keys of the webhook's signature
    worker_uid: int  # the user of workers, as the webhook writes it
    cache_size: int = 0  # bytes of the cache that pods share; 0: none
    cache_keep_free: int = 20  # percent of its disk that are left to others

    @property
    def pods(self) -> str:
        """The directory with a directory for each pod."""
        return f"{self.kubelet}/pods"

    @property
    def plugin(self) -> str:
        """The directory of our socket."""
        return f"{self.kubelet}/plugins/{NAME}"

    @property
    def cache(self) -> Path:
        """The directory of the cache that pods share."""
        return Path(self.plugin) / "cache"

    @property
    def registration(self) -> str:
        """The socket by which a kubelet finds us: it watches this directory."""
        return f"{self.kubelet}/plugins_registry/{NAME}-reg.sock"


def parse_size(text: str) -> int:
    """Parse `10Gi` (2**30), `10G` (10**9), `10737418240`; raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,15})(?:([KMGT])(i)?)?", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 10Gi")
    unit = 1024 if match[3] else 1000
    value: int = int(match[1]) * unit ** " KMGT".index(match[2] or " ")
    return value


def parse_percent(text: str) -> int:
    """Parse a whole number from 0 to 99; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,2}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a percentage from 0 to 99")
    return int(text)
