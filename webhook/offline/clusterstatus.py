"""`webhook status`: all pods with buckets of a cluster, and whether their mounts are well.

It asks by `kubectl`, with the rights of who runs it: to list pods, and to reach their metrics
through the API server (`pods/proxy`), else those columns stay empty. Nothing is changed. Not here:
names of metrics, which are fusefs's, and what one mount does (`fusefs status`). Threads ask; the
main thread shows.
"""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from webhook.errors import ClusterError
from webhook.injected import CONFIG, METRICS, WORKER, configured_mounts

AT_ONCE = 8
SECONDS = 30.0
# What is shown of the metrics: s3mount_NAME{…,mount="M",…} VALUE
_LINE = re.compile(r'^s3mount_(\w+)\{[^}]*\bmount="([^"]+)"[^}]*\} (\S+)$', re.MULTILINE)
_SHOWN = {"well", "dirty_bytes", "dirty_files", "conflicts_total", "store_unreachable_seconds"}
HEADS = ("NAMESPACE", "POD", "MOUNT", "BUCKET", "STATE", "NOT IN THE STORE", "RESTARTS")


@dataclass(frozen=True, slots=True)
class PodMount:
    """One mount of one pod; `values` are of its metrics, none where they can't be had."""

    namespace: str
    pod: str
    mount: str
    bucket: str
    phase: str
    restarts: int
    values: Mapping[str, float]

    @property
    def state(self) -> str:
        """Say in a word or two how it is."""
        if not self.values:
            return f"{self.phase}, no metrics"
        if self.values.get("well") == 1:
            return "well" if not self.values.get("conflicts_total") else "well, conflicts kept"
        away = self.values.get("store_unreachable_seconds", 0)
        return f"store away for {away:.0f} s" if away else "not well"

    def cells(self) -> tuple[str, ...]:
        """Return the row of a table."""
        dirty = self.values.get("dirty_bytes")
        left = "?" if dirty is None else f"{dirty / 2**20:.1f} MiB"
        return (
            *(self.namespace, self.pod, self.mount, self.bucket, self.state),
            *(left, str(self.restarts)),
        )


class Kubectl:
    """Runs kubectl with some arguments before all others, such as `--context`."""

    def __init__(self, program: str = "kubectl", before: Sequence[str] = ()) -> None:
        self._command = [program, *before]

    def ask(self, *arguments: str) -> str:
        """Return what it writes; ClusterError with what it complains of."""
        command = [*self._command, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"{' '.join(command[:3])}: {error}") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()  # the last one sums up what was tried
            raise ClusterError(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
        return done.stdout


def mounts(kubectl: Kubectl, namespace: str | None) -> list[PodMount]:
    """Return the mounts of all pods, or those of a namespace; raises ClusterError."""
    where = ["--all-namespaces"] if namespace is None else ["--namespace", namespace]
    pods = json.loads(kubectl.ask("get", "pods", *where, "--output", "json"))["items"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda pod: _of_pod(kubectl, pod), pods))
    return [mount for some in found for mount in some]


def _of_pod(kubectl: Kubectl, pod: Mapping[str, Any]) -> list[PodMount]:
    containers = pod["spec"].get("initContainers", [])
    worker = next((each for each in containers if each["name"] == WORKER), None)
    if worker is None:
        return []
    metadata, status = pod["metadata"], pod.get("status", {})
    values = _metrics(kubectl, metadata["namespace"], metadata["name"], worker)
    configs = [each for each in worker.get("env", []) if each["name"] == CONFIG]
    states = status.get("initContainerStatuses", [])
    restarts = sum(each["restartCount"] for each in states if each["name"] == WORKER)
    return [
        PodMount(
            metadata["namespace"],
            metadata["name"],
            mount["name"],
            f"{mount['bucket']}/{mount.get('prefix', '')}",
            status.get("phase", "Unknown"),
            restarts,
            values.get(mount["name"], {}),
        )
        for mount in configured_mounts(configs[0]["value"])
    ]


def _metrics(
    kubectl: Kubectl, namespace: str, pod: str, worker: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return the values by mount and name; none where the port isn't there or can't be reached."""
    ports = [each for each in worker.get("ports", []) if each.get("name") == METRICS]
    if not ports:
        return {}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{ports[0]['containerPort']}/proxy/metrics"
    try:
        text = kubectl.ask("get", "--raw", path)
    except ClusterError:
        return {}
    found: dict[str, dict[str, float]] = {}
    for name, mount, value in _LINE.findall(text):
        if name in _SHOWN:
            found.setdefault(mount, {})[name] = float(value)
    return found


def shown(found: Sequence[PodMount], as_json: bool) -> str:
    """Return them as a table, or as JSON."""
    if as_json:
        mounts = [asdict(each) | {"state": each.state} for each in found]
        return json.dumps({"mounts": mounts}, indent=2) + "\n"
    rows = [HEADS, *(each.cells() for each in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)
