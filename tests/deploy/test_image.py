"""The image for pods has what pods run and nothing else; the second driver is in another one."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.mount.settings import MountSettings
from fusefs.run import portable
from fusefs.s3.settings import StoreSettings
from tests.sources import REPOSITORY

STAGES = dict(
    re.findall(
        r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)",
        (REPOSITORY / "Dockerfile").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
FUSE = ("fusepy", "libfuse", "fuse3")


def test_the_image_for_pods_is_what_is_built_without_a_target() -> None:
    """The last stage is the default."""
    assert list(STAGES)[-1] == "pods"


@pytest.mark.parametrize("stage", ["build", "runtime", "pods"])
def test_pods_carry_neither_fusepy_nor_libfuse(stage: str) -> None:
    """The privileged keeper runs from this image: no set-user-id fusermount, no unused code."""
    commands = [line for line in STAGES[stage].splitlines() if not line.startswith("#")]
    assert [line for line in commands if any(name in line for name in FUSE)] == []


def test_the_other_image_has_all_that_the_driver_needs() -> None:
    """The module, the library it loads, and fusermount."""
    text = STAGES["build-fusepy"] + STAGES["fusepy"]
    assert [name for name in ("--extras fusepy", "libfuse2", "fuse3") if name not in text] == []


def test_what_pods_import_of_the_standard_library_is_compiled() -> None:
    """By the image: its root file system is read-only, and a start would compile it again."""
    left_out = re.search(r"compileall .*-x '(\S+)'.*\"stdlib\"", STAGES["runtime"], re.DOTALL)
    assert left_out is not None
    listed = "import fusefs.cli.command, fusefs.run.serving, fusefs.keeper.keeper, sys\n"
    listed += (
        "print(*(each.__file__ for each in sys.modules.values() if hasattr(each, '__file__')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, check=True
    )
    standard = sysconfig.get_path("stdlib")
    files = [name for name in done.stdout.split() if name.startswith(standard)]
    files = [name for name in files if "/site-packages/" not in name]
    assert len(files) > 50
    assert [name for name in files if re.search(left_out[1], name)] == []


def test_fusepy_is_an_extra() -> None:
    """`pip install s3mount[fusepy]`."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert [name for name in project["dependencies"] if "fusepy" in name] == []
    assert [name.split()[0] for name in project["optional-dependencies"]["fusepy"]] == ["fusepy"]


def test_a_mount_without_the_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is asked of the store."""
    monkeypatch.setitem(sys.modules, "fuse", None)
    monkeypatch.delitem(sys.modules, "fusefs.fusepy", raising=False)
    settings = MountSettings(
        StoreSettings("my-bucket", endpoint_url="http://127.0.0.1:1"), tmp_path, ""
    )
    with pytest.raises(SetupError, match=r"pip install 's3mount\[fusepy\]'.*libfuse2 fuse3"):
        portable.portable(settings)


def pruned() -> tuple[list[str], set[str]]:
    """Return the modules that the image is built without, and the services it knows."""
    spec = spec_from_file_location("prune", REPOSITORY / "deploy/container/prune.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    names = [name.replace("-", "_") for name in module.DISTRIBUTIONS]
    return [*names, *(name.replace("/", ".") for name in module.UNUSED)], module.SERVICES


def test_pods_import_nothing_that_the_image_is_built_without() -> None:
    """Every module of the three packages but the second driver, and a client of boto3's."""
    without, services = pruned()
    script = f"""
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys({without!r})
for package in ("webhook", "fusefs", "certs"):
    for module in pkgutil.walk_packages([package], package + "."):
        if not module.name.endswith(("__main__", "fusefs.fusepy")):
            importlib.import_module(module.name)
import boto3
asked = set()
loader = boto3.session.Session()._session.get_component("data_loader")
load = loader.load_service_model
session = boto3.session.Session()
session._session.get_component("data_loader").load_service_model = (
    lambda name, *rest, **more: asked.add(name) or load(name, *rest, **more)
)
session.client("s3", region_name="eu-west-1"), session.client("sts", region_name="eu-west-1")
print(*asked)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= services
