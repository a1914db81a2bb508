"""The image can be built for arm64: nothing in it is for one processor only."""

import re
import tomllib
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.sources import REPOSITORY

# The base image: its Python and, of Debian 12, its C library.
PYTHON = re.search(
    r"BASE_IMAGE=python:3\.(\d+)-slim-bookworm", (REPOSITORY / "Dockerfile").read_text()
)
GLIBC = 36


def environment(machine: str) -> dict[str, str]:
    """Return what markers of packages are evaluated with."""
    assert PYTHON is not None
    version = f"3.{PYTHON[1]}"
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "platform_machine": machine,
    }


def needed(package: dict[str, Any], machine: str) -> bool:
    """Say whether `poetry export --only main --extras node` has a package of the lock."""
    if "main" not in package["groups"]:
        return False
    marker = package.get("markers", "")
    text = marker.get("main", "") if isinstance(marker, dict) else marker
    if not text:
        return True
    return Marker(text).evaluate({**environment(machine), "extra": "node"})


def installable(machine: str) -> set[Tag]:
    """Return the tags of wheels that pip takes there."""
    assert PYTHON is not None
    version = (3, int(PYTHON[1]))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC + 1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"linux_{machine}"]
    interpreter = f"cp3{PYTHON[1]}"
    tags = set(cpython_tags(version, platforms=platforms))
    return tags | set(compatible_tags(version, interpreter, platforms))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_package_of_the_image_has_a_wheel(machine: str) -> None:
    """Of those that poetry.lock pins: nothing is compiled, the image has no compiler."""
    lock = tomllib.loads((REPOSITORY / "poetry.lock").read_text())
    tags = installable(machine)
    packages = [each for each in lock["package"] if needed(each, machine)]
    without = [
        package["name"]
        for package in packages
        if not any(
            parse_wheel_filename(file["file"])[3] & tags
            for file in package["files"]
            if file["file"].endswith(".whl")
        )
    ]
    assert {"boto3", "cryptography", "grpcio"} <= {package["name"] for package in packages}
    assert without == []
