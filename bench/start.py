"""What the start of a pod's processes costs: `python -m bench.start [TIMES]`.

Each process is timed from its exec to the file that its startup probe waits for: seconds of one
core (of it and its children), seconds that pass, and then the resident memory of each at idle.
First with static keys, then with a variable that only boto3 understands, so that the worker loads
it before it serves. Needs root and /dev/fuse; the store is on this machine. Medians.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.child import descendants
from tests.servers.s3 import Bucket
from tests.servers.seaweed import SeaweedServer

TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SECONDS = 1.0
# Of no use to a plain bucket, but boto3's alone to read.
ONLY_BOTO3 = {"AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS": "true"}


@dataclass
class Costs:
    """What each start took, by the name of the container."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    resident: list[list[float]] = field(default_factory=list)  # MiB, of each process

    def line(self, name: str) -> str:
        """Return the medians."""
        memory = " + ".join(f"{median(each):.0f}" for each in zip(*self.resident, strict=True))
        return f"{name:16} {median(self.cpu):6.2f} {median(self.wall):6.2f}   {memory} MiB"


def cpu(pid: int) -> float:
    """Return the seconds of one core that a process and all below it took."""
    total = 0
    for each in (pid, *descendants(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pid: int) -> list[float]:
    """Return the MiB of a process, then of those below it."""
    processes = (pid, *descendants(pid))
    sizes = (Path(f"/proc/{each}/statm").read_text().split()[1] for each in processes)
    return [int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20) for pages in sizes]


def until_ready(pod: S3Pod, name: str, costs: Costs) -> int:
    """Start one of the two, wait for its file, add what that took; return its process."""
    began = time.monotonic()
    (pod.start_keeper if name == "keeper" else pod.start_worker)()
    process = pod.keeper if name == "keeper" else pod.worker
    if process is None:
        raise RuntimeError(f"no {name}")
    ready = pod.keeper_socket.with_name(f"{name}.ready")
    while not ready.exists():
        if process.poll() is not None:
            raise RuntimeError(pod.log.read_text())
        time.sleep(0.002)
    costs.wall.append(time.monotonic() - began)
    costs.cpu.append(cpu(process.pid))
    return process.pid


def started(bucket: Bucket, environment: dict[str, str], costs: dict[str, Costs]) -> None:
    """Start a pod and end it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        pod = S3Pod(Path(directory), bucket, supervise=True)
        pod.environment |= environment
        try:
            pids = {name: until_ready(pod, name, costs[name]) for name in costs}
            time.sleep(IDLE_SECONDS)
            for name, pid in pids.items():
                costs[name].resident.append(resident(pid))
            pod.stop()
        finally:
            pod.clean_up()


def main(arguments: list[str]) -> None:
    """Print a table for each kind of start."""
    times = int(arguments[0]) if arguments else 7
    with SeaweedServer() as server:
        bucket = server.endpoint.create_bucket("start")
        for kind, environment in (("static keys", {}), ("boto3 loaded", ONLY_BOTO3)):
            costs = {"keeper": Costs(), "worker": Costs()}
            for _ in range(times):
                started(bucket, environment, costs)
            print(f"{kind:16} {'core s':>6} {'wall s':>6}   resident at idle")
            for name, each in costs.items():
                print(each.line(name))


if __name__ == "__main__":
    main(sys.argv[1:])
