"""The script behind `make image`, with an engine that writes down what it is asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sources import REPOSITORY

SCRIPT = "deploy/container/build.sh"
# `there`: the kind of what has the image's name already.
ENGINE = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$1 $2" in
  "manifest exists") [ "$THERE" = manifest ] ;;
  "image exists") [ "$THERE" != "" ] ;;
  "image inspect") echo 104857600 ;;
  "create "*) echo container ;;
esac
"""


class Builder:
    """A copy of the script, and engines on its PATH that only write down their arguments."""

    def __init__(self, directory: Path) -> None:
        (directory / "deploy/container").mkdir(parents=True)
        (directory / "bin").mkdir()
        shutil.copy(REPOSITORY / SCRIPT, directory / SCRIPT)
        (directory / "pyproject.toml").write_text('version = "1.2.3"\n')
        for name in ("podman", "docker"):
            (directory / "bin" / name).write_text(ENGINE)
            (directory / "bin" / name).chmod(0o755)
        self._directory = directory

    def calls(self, *arguments: str, there: str = "", **settings: str) -> list[str]:
        """Return what the engine was asked, in order."""
        calls = self._directory / "calls"
        calls.unlink(missing_ok=True)
        path = f"{self._directory}/bin:{os.environ['PATH']}"
        told = {"PATH": path, "CALLS": str(calls), "THERE": there, "GIT_DIR": "/nowhere"}
        command = ["bash", str(self._directory / SCRIPT), *arguments]
        done = subprocess.run(
            command, env=told | settings, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(": 100 MiB\n")
        return calls.read_text().splitlines()


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


COMMON = "--target pods --label org.opencontainers.image.version=1.2.3"


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_one_platform_is_an_image(builder: Builder, engine: str) -> None:
    """This machine's, or the one that is named; further arguments are the engine's."""
    assert builder.calls(ENGINE=engine)[0] == f"build {COMMON} -t s3mount:1.2.3 ."
    asked = builder.calls("--build-arg", "A=b", ENGINE=engine, PLATFORMS="linux/arm64")
    assert asked[0] == f"build {COMMON} --platform linux/arm64 -t s3mount:1.2.3 --build-arg A=b ."
    assert "create s3mount:1.2.3" in asked


@pytest.mark.parametrize(
    ("there", "before"),
    [
        ("", []),
        ("manifest", ["manifest rm registry/s3mount:1.2.3"]),
        ("image", ["untag registry/s3mount:1.2.3"]),
    ],
)
def test_podman_puts_several_platforms_into_a_new_list(
    builder: Builder, there: str, before: list[str]
) -> None:
    """It would add to a list that is there, and fail at the end over an image of that name."""
    platforms = "linux/amd64,linux/arm64"
    asked = builder.calls(
        there=there, ENGINE="podman", PLATFORMS=platforms, IMAGE="registry/s3mount"
    )
    build = f"build {COMMON} --platform {platforms} --manifest registry/s3mount:1.2.3 ."
    changing = [line for line in asked if line.split()[1] != "exists"]
    assert changing[: len(before) + 1] == [*before, build]


def test_docker_builds_several_platforms_with_buildx(builder: Builder) -> None:
    """With `--push`, for it keeps no list of images."""
    platforms = "linux/amd64,linux/arm64"
    asked = builder.calls("--push", ENGINE="docker", PLATFORMS=platforms)
    assert asked[0] == f"buildx build {COMMON} --platform {platforms} -t s3mount:1.2.3 --push ."


def test_the_bill_of_materials_has_the_name_of_the_image(builder: Builder) -> None:
    """So that those of both images can lie side by side."""
    asked = builder.calls(ENGINE="podman", TARGET="fusepy")
    copied = [line for line in asked if line.startswith("cp ")]
    assert copied == ["cp container:/opt/s3mount/sbom.cdx.json dist/s3mount-1.2.3-fusepy.cdx.json"]
