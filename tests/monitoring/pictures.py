"""Makes the pictures of the documents from a real mount: `python -m tests.monitoring.pictures`.

A mount on a real store works for a minute while a real Prometheus scrapes it; then panels of the
dashboard are asked and drawn, and `fusefs status` shows the same mount. Needs root and /dev/fuse.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fusefs.run.status import MountStatus
from fusefs.tools import livestatus
from fusefs.tools.screen import rich_table
from tests.monitoring import curves, dashboard
from tests.monitoring.curves import Chart, Points
from tests.monitoring.prometheus import Prometheus
from tests.mounts.log import parse
from tests.mounts.ours import Directories, OurMount
from tests.servers.seaweed import SeaweedServer
from tests.sources import REPOSITORY

PICTURES = REPOSITORY / "docs/pictures"
SECONDS = 60
SHOWN = (
    *("File operations", "Latency of file operations, 99 %", "Bytes read, by where they came from"),
    *("Requests", "First byte, median and 99 %", "Content", "Age of the oldest change", "Cache"),
)
# Run as a program of its own: a mount that hangs takes nobody else with it.
WORK = """
import os, sys, time
root, end, turn = sys.argv[1], time.time() + float(sys.argv[2]), 0
while time.time() < end:
    turn += 1
    with open(f"{root}/large{turn % 3}", "wb") as file:
        for _ in range(20):
            file.write(os.urandom(1 << 20))
    for name in os.listdir(root):
        with open(f"{root}/{name}", "rb") as file:
            while file.read(1 << 20):
                pass
    for number in range(20):
        with open(f"{root}/small{number}", "w") as file:
            file.write("x" * 1000 * turn)
    with open(f"{root}/log", "a") as file:
        for _ in range(3):
            file.write("a line\\n")
            file.flush()
            time.sleep(1)
"""


def make() -> None:
    """Run it all and write both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with SeaweedServer() as server, tempfile.TemporaryDirectory() as folder:
        bucket = server.endpoint.create_bucket("pictures")
        where = Directories(Path(folder) / "mount")
        options = ["--metrics-port", "0", "--cache-size", "256Mi"]
        mount = OurMount(bucket.name, where, bucket.endpoint, "native", options)
        try:
            mount.wait_ready()
            (port,) = (int(x.fields["port"]) for x in parse(mount.said()) if "port" in x.fields)
            labels = {"namespace": "team-a", "pod": "trainer-0"}
            with Prometheus(Path(folder) / "prometheus", [(port, labels)], "1s") as prometheus:
                began = time.time()
                _work(mount.path)
                charts = [_chart(prometheus, title, began, time.time()) for title in SHOWN]
                (PICTURES / "dashboard.svg").write_text(curves.drawn(charts))
        finally:
            mount.stop()
            mount.release()


def _work(path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORK, path, str(SECONDS)])
    time.sleep(SECONDS / 2)
    looked = livestatus.Looked()
    looked.rows(_ours(path), time.monotonic())
    time.sleep(3)
    _status(looked, _ours(path))
    worker.wait(SECONDS + 60)


def _ours(path: Path) -> dict[str, MountStatus]:
    return livestatus.wanted(livestatus.asked(livestatus.sockets_here()), str(path))


def _status(looked: livestatus.Looked, found: dict[str, MountStatus]) -> None:
    """Draw what `fusefs status` shows, with a mountpoint that people would have."""
    from rich.console import Console

    rows = looked.rows(found, time.monotonic())
    shown = [("/mnt/bucket", *row[1:]) for row in rows]
    console = Console(record=True, width=150, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_table(livestatus.HEADS, shown))
    (PICTURES / "status.svg").write_text(console.export_svg(title="fusefs status"))


def _chart(prometheus: Prometheus, title: str, start: float, end: float) -> Chart:
    """Ask for one panel as Grafana would."""
    panel = next(each for row in dashboard.ROWS for each in row.panels if each.title == title)
    found: dict[str, Points] = {}
    for query, legend in panel.queries:
        for name in ("namespace", "pod", "mount"):
            query = query.replace(f"${name}", ".*")
        query = query.replace("$__rate_interval", "8s")
        for series in prometheus.over(query, start + 5, end, 1.0):
            points = [(t, float(v)) for t, v in series["values"]]
            name = _legend(legend, series["metric"])
            found[name] = [(t, v) for t, v in points if not math.isnan(v)] or [(start, 0.0)]
    return Chart(title, panel.unit, found or {"nothing": [(start, 0.0)]})


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text or json.dumps(labels)


if __name__ == "__main__":
    make()
