"""A node for the tests of this directory."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fusefs.kernel import driver
from tests.fusefs.node.kubelet import FakeKubelet
from tests.fusefs.survival.application import Application


@pytest.fixture
def make_kubelet() -> Iterator[Callable[..., FakeKubelet]]:
    """Make nodes; whatever is left of them goes at the end."""
    if not driver.works_here():
        pytest.skip("needs /dev/fuse and the right to mount")
    made: list[FakeKubelet] = []
    with tempfile.TemporaryDirectory(prefix="node-") as directory:
        Path(directory).chmod(0o755)

        def make(**options: int) -> FakeKubelet:
            root = Path(directory) / str(len(made))
            root.mkdir()
            made.append(FakeKubelet(root, **options))
            return made[-1]

        yield make
        for kubelet in made:
            kubelet.clean_up()


@pytest.fixture
def kubelet(make_kubelet: Callable[..., FakeKubelet]) -> FakeKubelet:
    """A node whose plugin runs."""
    kubelet = make_kubelet()
    kubelet.start_plugin()
    return kubelet


@pytest.fixture
def application() -> Iterator[Application]:
    """A process that uses the mounts."""
    made = Application()
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_kubelet() -> Iterator[FakeKubelet]:
    """A node whose plugin runs, for the tests of a module.

    Its path is short, for those of sockets have a limit of 108 bytes.
    """
    if not driver.works_here():
        pytest.skip("needs /dev/fuse and the right to mount")
    with tempfile.TemporaryDirectory(prefix="node-") as directory:
        kubelet = FakeKubelet(Path(directory))
        try:
            kubelet.start_plugin()
            yield kubelet
        finally:
            kubelet.clean_up()
