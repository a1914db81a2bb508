"""The rules that keep the packages apart and their files small."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

import pytest

from tests.sources import (
    PACKAGES,
    REPOSITORY,
    foreign_imports,
    modules,
    own_imports,
    reach,
)

# The one module of each package that knows a third party; what belongs together is one of them.
THIRD_PARTIES = {
    "boto3": {"fusefs.client"},
    "botocore": {"fusefs.client"},
    "cryptography": {"certs.issue"},
    "fastapi": {"webhook.app"},
    "fuse": {"fusefs.portable"},
    "jsonpatch": {"webhook.admission"},
    "kubernetes": {"webhook.cluster", "certs.cluster"},
    "prometheus_client": {"webhook.metrics", "fusefs.metrics"},
    "starlette": {"webhook.app"},
    "structlog": {"webhook.log", "certs.agent"},
    "urllib3": {"fusefs.client", "webhook.cluster", "certs.cluster"},  # its errors come through
    "uvicorn": {"webhook.server"},
    "yaml": {"webhook.documents"},
}

# Who must do without whom, however indirectly: "from" names a module or a package.
KERNEL_FREE = ("fusefs.kernel", "fusefs.portable")
S3_FREE = ("fusefs.store", "fusefs.filesystem", "fusefs.tree", "fusefs.cache")
APART = [
    *((each, S3_FREE) for each in KERNEL_FREE),
    ("fusefs.store", (*KERNEL_FREE, *S3_FREE[1:], "fusefs.reader", "fusefs.staged")),
    ("fusefs.cache", (*KERNEL_FREE, "fusefs.store", "fusefs.tree", "fusefs.reader")),
    ("fusefs.reader", (*KERNEL_FREE, "fusefs.tree", "fusefs.filesystem")),
    ("fusefs.filesystem", KERNEL_FREE),
    # No credentials there, and small: it must live through what kills the others.
    ("fusefs.keeper", (*S3_FREE, "fusefs.logs", "fusefs.settings", "fusefs.worker")),
    ("fusefs.probe", (*S3_FREE, "fusefs.logs", "fusefs.settings", "fusefs.worker")),
    # Reviewing is pure: no request, no clock of the cluster's, no HTTP.
    ("webhook.sidecar", ("webhook.app", "webhook.cluster", "webhook.server", "webhook.metrics")),
    ("webhook.annotations", ("webhook.policy", "webhook.sidecar", "webhook.app")),
    ("certs.issue", ("certs.cluster", "certs.rotation")),
]

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
# Files that are too long still. One that no longer is must leave this list.
TOO_LONG = {"fusefs.body"}
NOT_NOUNS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "models", "misc"}

TOP_LEVEL = {
    *("webhook", "fusefs", "certs", "deploy", "tests", "docs", "bench"),
    *("Dockerfile", "Makefile", "pyproject.toml", "poetry.lock"),
    *("README.md", "CHANGELOG.md", "LICENSE"),
    *(".ci", ".gitignore", ".dockerignore"),
}


def within(name: str, of: str) -> bool:
    """Say whether a module is this one or in this package."""
    return name == of or name.startswith(f"{of}.")


def test_packages_do_not_import_each_other() -> None:
    """What they share is the container spec; nothing of `tests` or `bench` is in them either."""
    forbidden = {*PACKAGES, "tests", "bench"}
    crossing = {
        module.name: found
        for module in modules().values()
        if (found := foreign_imports(module) & forbidden)
    }
    assert crossing == {}


def test_each_third_party_is_imported_in_one_module_of_a_package() -> None:
    """Exactly the modules named here import it, and nothing else is imported."""
    importers = defaultdict(set)
    for module in modules().values():
        for name in foreign_imports(module) - sys.stdlib_module_names - set(PACKAGES):
            importers[name].add(module.name)
    assert importers == THIRD_PARTIES


def test_imports_have_one_direction() -> None:
    """No module comes with itself."""
    assert [name for name in modules() if name in reach(name)] == []


@pytest.mark.parametrize(("who", "without"), APART, ids=[who for who, _ in APART])
def test_who_does_without_whom(who: str, without: tuple[str, ...]) -> None:
    """Neither it nor what it imports imports these."""
    begins = [name for name in modules() if within(name, who)]
    reached = set().union(*map(reach, begins))
    wrong = {name for name in reached for each in without if within(name, each)} - set(begins)
    assert begins != []
    assert wrong == set()


def test_kernel_sessions_know_the_core_by_its_interface_only() -> None:
    """Of the rest of the package they import the calls they make and the errors of those."""
    allowed = {"fusefs", "fusefs.interface", "fusefs.errors", "fusefs.resent"}
    adapters = [name for name in modules() if any(within(name, adapter) for adapter in KERNEL_FREE)]
    found = set().union(*(own_imports(modules()[name]) for name in adapters))
    assert {name for name in found if not within(name, "fusefs.kernel")} <= allowed


def test_files_are_short() -> None:
    """No file is over 400 lines, save those listed; those listed are."""
    long = {module.name for module in modules().values() if module.lines > LONGEST_FILE}
    assert long == TOO_LONG


def test_functions_are_short() -> None:
    """No function is over 60 lines."""
    long = [
        (module.name, name)
        for module in modules().values()
        for name, lines in module.functions()
        if lines > LONGEST_FUNCTION
    ]
    assert long == []


def test_files_are_named_by_nouns() -> None:
    """No file has one of the names under which anything goes; in the tests neither."""
    paths = [
        path for name in (*PACKAGES, "tests", "bench") for path in (REPOSITORY / name).rglob("*")
    ]
    assert paths != []
    assert [path for path in paths if path.stem in NOT_NOUNS] == []


def test_every_module_says_what_it_is() -> None:
    """A docstring at the top, save in empty files."""
    silent = [module.name for module in modules().values() if not module.docstring]
    assert silent == []


def test_the_top_level_is_what_it_is() -> None:
    """Nothing is added there by the way."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    assert {line.partition("/")[0] for line in done.stdout.splitlines()} == TOP_LEVEL
