"""The node that the pods are on: its services, and the processes of a container.

How a node is reached differs, so that is one program, named by `E2E_NODE`:

    PROGRAM run COMMAND…    runs a command as root in the node's process and mount namespaces
    PROGRAM stop SERVICE    ends kubelet, containerd, apiserver or s3
    PROGRAM start SERVICE   starts it again
    PROGRAM freeze s3       stops its processes without ending them (SIGSTOP)
    PROGRAM thaw s3         lets them go on (SIGCONT)
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.cluster import Manifest, status_of

# Prints the ids of the processes of a container: of those whose cgroup is named after it.
PIDS = "grep -l {id} /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | sort -n"


class Node:
    """The only node, or the one that the pods of a check are on."""

    def __init__(self, program: str) -> None:
        self._program = shlex.split(program)

    def run(self, script: str) -> str:
        """Run a shell script on the node; returns what it printed, also where it failed."""
        return self._do("run", "sh", "-c", script)

    def stop(self, service: str) -> None:
        """End a service."""
        self._do("stop", service)

    def start(self, service: str) -> None:
        """Start a service."""
        self._do("start", service)

    def freeze(self, service: str) -> None:
        """Stop the processes of a service; its connections stay."""
        self._do("freeze", service)

    def thaw(self, service: str) -> None:
        """Let the processes of a service go on."""
        self._do("thaw", service)

    @contextmanager
    def without(self, service: str) -> Iterator[None]:
        """Have a service away for a while."""
        self.stop(service)
        try:
            yield
        finally:
            self.start(service)

    def processes(self, pod: Manifest, container: str) -> list[int]:
        """Return the process ids of a container, oldest first."""
        name = str(status_of(pod, container).get("containerID", "")).rpartition("/")[2]
        return [int(each) for each in self.run(PIDS.format(id=name)).split()] if name else []

    def kill(self, pod: Manifest, *containers: str) -> None:
        """Kill all processes of containers, at once: the kubelet starts them again, ever later."""
        found = [pid for each in containers for pid in self.processes(pod, each)]
        assert found, f"no process of {containers} on the node"
        self.run(f"kill -9 {' '.join(map(str, found))}")

    def kill_serving(self, pod: Manifest, container: str) -> None:
        """Kill what a container's first process has started, as the kernel does for memory."""
        serving = self.processes(pod, container)[1:]
        assert serving, f"{container} has one process only"
        self.run(f"kill -9 {' '.join(map(str, serving))}")

    def mounts(self, uid: str) -> list[str]:
        """Return the FUSE mounts in the volumes of a pod."""
        lines = self.run("cat /proc/mounts").splitlines()
        return [line for line in lines if uid in line and " fuse" in line]

    def _do(self, *words: str) -> str:
        done = subprocess.run(
            [*self._program, *words], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout
