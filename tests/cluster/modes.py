"""Pod mode and node mode: what is installed for each, and which checks are of one alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fusefs.node.settings import KUBELET

POD, NODE = "pod", "node"
# The level of Pod Security that the checks' namespaces enforce.
ENFORCED = {POD: "privileged", NODE: "restricted"}
# Checks of one mode alone, by module and name. Those of the keeper have their like in test_node.
OF_POD_MODE = {
    ("test_kills", "test_keeper_killed"),
    ("test_kills", "test_both_killed"),
    ("test_kills", "test_keeper_away_at_deletion"),
    ("test_refused", "test_pod_security_refuses"),
    ("test_recipes", "test_a_recipe_of_the_page_for_applications"),
}
# They apply overlays of pod mode; what they check is the webhook's installation in either.
OF_THE_INSTALLATION = {"test_installation", "test_upgrade", "test_guards"}


@dataclass(frozen=True)
class Mode:
    """Which mode is installed, and the kubelet's directory on the nodes."""

    name: str = POD
    kubelet: str = KUBELET

    @classmethod
    def told(cls, environ: Mapping[str, str]) -> Mode:
        """Return what MODE and E2E_KUBELET_DIRECTORY say."""
        name = environ.get("MODE") or POD
        assert name in ENFORCED, f"MODE={name}: must be {POD} or {NODE}"
        return cls(name, environ.get("E2E_KUBELET_DIRECTORY") or KUBELET)

    @property
    def overlay(self) -> str:
        """The directory below deploy/ that is applied."""
        return "overlays/node" if self.name == NODE else "."


def left_out(module: str, name: str, mode: str) -> str:
    """Return why a check isn't run in a mode, "" where it is."""
    name = name.partition("[")[0]
    if mode == POD:
        return "is of node mode" if module == "test_node" else ""
    if module in OF_THE_INSTALLATION:
        return "is of the installation, in pod mode"
    return "is of pod mode" if (module, name) in OF_POD_MODE else ""
