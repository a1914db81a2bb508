"""The file that probes look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fusefs.probefiles import ProbeFile


def passes(*command: str | Path) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_ready_process_passes_test_e(tmp_path: Path) -> None:
    """And no longer when it has stopped doing its work."""
    files = ProbeFile(str(tmp_path), "worker")
    assert not passes("test", "-e", tmp_path / "worker.ready")
    files.ready(True)
    assert passes("test", "-e", tmp_path / "worker.ready")
    files.ready(False)
    assert not passes("test", "-e", tmp_path / "worker.ready")


def test_a_new_process_is_not_ready_by_what_its_predecessor_left(tmp_path: Path) -> None:
    """The file of a process that was killed says nothing of the next one."""
    ProbeFile(str(tmp_path), "worker").ready(True)
    ProbeFile(str(tmp_path), "worker")
    assert not passes("test", "-e", tmp_path / "worker.ready")


def test_not_ready_removes_what_another_process_made(tmp_path: Path) -> None:
    """The first process of a container ends the readiness of the one that it started."""
    supervisor = ProbeFile(str(tmp_path), "worker")
    ProbeFile(str(tmp_path), "worker").ready(True)
    supervisor.ready(False)
    assert not passes("test", "-e", tmp_path / "worker.ready")


def test_a_directory_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    """The volume of a pod that ends may go before its processes."""
    files = ProbeFile(str(tmp_path / "gone"), "worker")
    files.ready(True)
