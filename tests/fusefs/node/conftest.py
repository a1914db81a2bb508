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
def shared_kubelet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKubelet]:
    """A node whose plugin runs, for tests that leave nothing mounted."""
    if not driver.works_here():
        pytest.skip("needs /dev/fuse and the right to mount")
    kubelet = FakeKubelet(tmp_path_factory.mktemp("node"))
    kubelet.start_plugin()
    yield kubelet
    kubelet.clean_up()
