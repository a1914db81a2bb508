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

from tests.cluster.cluster import Manifest, status_of, until

# Prints the ids of the processes of a container: of those whose cgroup is named after it.
PIDS = "grep -l {id} /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | sort -n"
# Goes to the cgroup that bounds the memory of process {pid}, under either version of cgroups
# (cgroups(7)), and names its files there.
CGROUP = """
path=$(sed -n 's/^[0-9]*:memory://p' /proc/{pid}/cgroup)
if [ "$path" ]; then
  limit=memory.limit_in_bytes events=memory.oom_control
  cd "/sys/fs/cgroup/memory$path" || exit 1
else
  limit=memory.max events=memory.events
  cd "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/{pid}/cgroup)" || exit 1
fi
"""
# Sets the limit to what its processes use without the pages of files, which the kernel frees first.
TIGHTEN = """
used=$(sed -n 's/^\\(rss\\|anon\\) //p' memory.stat)
for more in 0 1 2 4 8 16; do echo $((used + more * 1048576)) >$limit && break; done
"""


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

    @contextmanager
    def out_of_memory(self, pod: Manifest, container: str) -> Iterator[None]:
        """Give a container no byte more than it uses, until the kernel has killed for memory.

        Inside, wait for nothing but what makes it ask for more; afterwards it has its limit again.
        """
        go = CGROUP.format(pid=self.processes(pod, container)[0])
        killed = f"{go} sed -n 's/^oom_kill //p' $events"
        limit, before = self.run(f"{go} cat $limit").strip(), self.run(killed).strip()
        assert limit and before, f"no cgroup of {container} on the node"
        try:
            self.run(f"{go} {TIGHTEN}")
            yield
            until("killed for memory", lambda: self.run(killed).strip() != before, 120)
        finally:
            self.run(f"{go} echo {limit} > $limit")

    def mounts(self, uid: str) -> list[str]:
        """Return the FUSE mounts in the volumes of a pod."""
        lines = self.run("cat /proc/mounts").splitlines()
        return [line for line in lines if uid in line and " fuse" in line]

    def _do(self, *words: str) -> str:
        done = subprocess.run(
            [*self._program, *words], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout
