"""Pods for the tests of this directory."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fusefs.kernel import driver
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.pod import Pod


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that other users can reach."""
    if not driver.works_here():
        pytest.skip("needs /dev/fuse and the right to mount")
    with tempfile.TemporaryDirectory(prefix="pod-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def make_pod(base: Path) -> Iterator[Callable[..., Pod]]:
    """Make pods below `base`; whatever is left of them goes at the end."""
    made: list[Pod] = []

    def make(**options: object) -> Pod:
        made.append(Pod(base, **options))  # type: ignore[arg-type] # passed on as they are
        return made[-1]

    yield make
    for pod in made:
        pod.clean_up()


@pytest.fixture
def pod(make_pod: Callable[..., Pod]) -> Pod:
    """A pod with one mount, up and serving."""
    pod = make_pod()
    pod.start()
    return pod


@pytest.fixture
def application() -> Iterator[Application]:
    """A process that uses the mount."""
    made = Application()
    yield made
    made.end()
