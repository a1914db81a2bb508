"""The rules that keep the packages apart and their files small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.sources import PACKAGES, REPOSITORY, foreign_imports, modules, own_imports, reach
from tests.wings import wing

# The one module of each package that knows a third party; what belongs together is one of them.
THIRD_PARTIES = {
    "boto3": {"fusefs.s3.sdk"},
    "botocore": {"fusefs.s3.sdk"},
    "cryptography": {"certs.x509"},
    "fastapi": {"webhook.serve.app"},
    "fuse": {"fusefs.fusepy"},
    "google": {"fusefs.node.messages"},  # protobuf
    "grpc": {"fusefs.node.pluginserver"},
    "isal": {"fusefs.crc32"},
    "jsonpatch": {"webhook.review.admission"},
    "kubernetes": {"webhook.serve.cluster", "certs.cluster"},
    "rich": {"fusefs.tools.screen"},
    "pydantic": {"webhook.platform.environment"},
    "pydantic_settings": {"webhook.platform.environment"},
    "prometheus_client": {"webhook.serve.metrics", "fusefs.mount.metrics"},
    "starlette": {"webhook.serve.app"},
    "structlog": {"webhook.serve.log", "certs.agent"},
    "urllib3": {
        "fusefs.s3.attempts",
        "fusefs.s3.sdk",
        "webhook.serve.cluster",
        "certs.cluster",
    },  # its errors come through
    "uvicorn": {"webhook.serve.server"},
    "yaml": {"webhook.parse.yamldocs"},
}

# The wings of a package, top to bottom: each may import those named here, itself and the ground.
# A new arrow is a decision, made in this table. `ground` is what lies flat in the package.
WINGS: dict[str, dict[str, set[str]]] = {
    "fusefs": {
        "__main__": {"cli", "run", "node", "keeper"},
        "cli": {"tools", "run", "mount", "keeper", "kernel", "s3"},
        "tools": {"run", "mount", "write", "keeper", "s3", "disk"},
        "run": {"mount", "keeper", "session", "kernel"},
        "mount": {
            *("posix", "names", "write", "read", "cache"),
            *("session", "keeper", "s3", "disk"),
        },
        "node": {"cache", "keeper", "kernel", "disk"},
        "posix": {"names", "write", "read", "cache", "session"},
        "names": {"write", "cache", "s3", "session"},
        "write": {"read", "cache", "s3", "disk"},
        "read": {"cache"},
        "cache": {"disk"},
        "session": {"disk"},
        "keeper": {"kernel"},
        "kernel": set(),
        "s3": set(),
        "disk": set(),
        "ground": set(),
    },
    "webhook": {
        "__main__": {"events", "offline", "serve", "review", "policy", "spec", "platform", "parse"},
        "events": {"serve", "platform"},
        "offline": {"review", "policy", "spec", "parse"},
        "serve": {"review", "policy", "platform", "parse"},
        "review": {"pod", "policy", "spec", "platform", "parse"},
        "policy": {"spec", "platform", "parse"},
        "pod": {"spec", "platform", "parse"},
        "spec": {"platform", "parse"},
        "platform": {"parse"},
        "parse": set(),
        "ground": set(),
    },
}
# Who must do without whom, however indirectly, and why.
APART = [
    # It must live through what kills the others, and it has privileges: no credentials, no S3 code.
    ("fusefs.keeper", ("fusefs.s3", "fusefs.logs", "fusefs.mount", "fusefs.run.worker")),
    ("fusefs.run.probe", ("fusefs.s3", "fusefs.logs", "fusefs.mount", "fusefs.run.worker")),
    # What pods run does without the second driver: it is an extra that their image doesn't have.
    *((f"fusefs.run.{name}", ("fusefs.fusepy",)) for name in ("serving", "podworker", "probe")),
    ("fusefs.keeper", ("fusefs.fusepy",)),
    # Privileged on every node: neither credentials nor S3 code.
    ("fusefs.node", ("fusefs.s3", "fusefs.logs", "fusefs.mount", "fusefs.run", "fusefs.fusepy")),
    # Its third parties are an extra, and large.
    *((f"fusefs.{name}", ("fusefs.node",)) for name in ("keeper", "run", "cli", "mount")),
    # Reviewing is pure: no request, no clock of the cluster's, no HTTP.
    *((f"webhook.{wing}", ("webhook.serve",)) for wing in ("review", "policy", "pod")),
    # It may list pods and write events; what answers the API server may neither.
    ("webhook.serve", ("webhook.events",)),
    ("webhook.events", ("webhook.review", "webhook.policy", "webhook.pod", "webhook.serve.server")),
    ("webhook.spec", ("webhook.policy", "webhook.pod", "webhook.serve")),
    ("certs.x509", ("certs.cluster", "certs.rotation")),
]

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
# Files that are too long still. One that no longer is must leave this list.
TOO_LONG: set[str] = set()
# Modules whose classes have other words: the kernel header's.
OTHERWISE_NAMED = {"fusefs.kernel.wire"}
NOT_NOUNS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "models", "misc"}

TOP_LEVEL = {
    *("webhook", "fusefs", "certs", "deploy", "tests", "docs", "bench"),
    *("Dockerfile", "Makefile", "pyproject.toml", "poetry.lock"),
    *("mkdocs.yml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
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


@pytest.mark.parametrize("package", WINGS)
def test_wings_import_downwards_only(package: str) -> None:
    """Every import from one wing into another is in the table."""
    table = WINGS[package]
    wrong = [
        f"{module.name} may not import {other}: {here} may import"
        f" {', '.join(sorted(table[here])) or 'the ground only'}"
        for module in modules().values()
        if within(module.name, package)
        for other in sorted(own_imports(module))
        if (here := wing(module.name)) != (there := wing(other))
        and there not in {*table[here], "ground"}
    ]
    assert wrong == []


@pytest.mark.parametrize("package", WINGS)
def test_the_table_of_wings_runs_downwards(package: str) -> None:
    """A wing may import only wings below its own line: the table itself has no circle."""
    order = list(WINGS[package])
    upwards = [
        (above, below)
        for above, allowed in WINGS[package].items()
        for below in allowed
        if order.index(below) <= order.index(above)
    ]
    assert upwards == []


@pytest.mark.parametrize("package", WINGS)
def test_every_wing_is_a_folder_that_says_what_it_is(package: str) -> None:
    """The table has the folders that are there, and each says what isn't in it."""
    folders = {path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")}
    assert {name for name in WINGS[package] if name not in {"ground", "__main__"}} == folders
    silent = [
        name for name in folders if "Not here" not in modules()[f"{package}.{name}"].docstring
    ]
    assert silent == []


def test_the_design_draws_every_wing() -> None:
    """The diagram of docs/design.md has them all; a new wing is drawn."""
    diagram = (REPOSITORY / "docs/design.md").read_text().split("```")[1]
    drawn = set(re.findall(r"\b([a-z0-9]+) ──+ \w|\b(ground):", diagram))
    assert {one or other for one, other in drawn} == WINGS["fusefs"].keys() - {"__main__"}


@pytest.mark.parametrize("package", WINGS)
def test_the_contributors_map_has_every_wing(package: str) -> None:
    """CONTRIBUTING.md has a row for each, and no other."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text().partition(f"| wing of `{package}` |")[2]
    rows = re.findall(r"^\| `(\w+)` \|", text.partition("\n\n")[0], re.MULTILINE)
    assert set(rows) == WINGS[package].keys() - {"__main__", "ground"}


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
    grounds = (
        *("bulkhead", "errors", "failurewarnings", "interface", "locks", "resend", "timings"),
        "waiting",  # by which calls say that their reader is to be replaced
    )
    allowed = {"fusefs", *(f"fusefs.{name}" for name in grounds)}
    drivers = ("fusefs.kernel", "fusefs.fusepy")
    adapters = [name for name in modules() if any(within(name, driver) for driver in drivers)]
    found = set().union(*(own_imports(modules()[name]) for name in adapters))
    assert {name for name in found if not within(name, "fusefs.kernel")} <= allowed


def test_every_lock_has_a_rank() -> None:
    """Locks are made by `fusefs.locks`, which knows the order of taking them; never directly."""
    made = re.compile(r"\b(?:threading\.)?(?:R?Lock|Condition)\(\)")
    unranked = [
        module.name
        for module in modules().values()
        if within(module.name, "fusefs")
        and module.name != "fusefs.locks"
        and made.search(module.path.read_text())
    ]
    assert unranked == []


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


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_name_means_one_thing(package: str) -> None:
    """No two modules of a package define public classes of one name."""
    places = defaultdict(list)
    for module in modules().values():
        if within(module.name, package):
            for name in module.classes():
                places[name].append(module.name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_modules_and_classes_share_words() -> None:
    """In each wing of fusefs the name of a module tells one of its classes."""
    strange = {
        module.name
        for module in modules().values()
        if within(module.name, "fusefs") and wing(module.name) != "ground"
        if (classes := module.classes()) and not _share(module.path.stem, classes)
    }
    assert strange == OTHERWISE_NAMED


def _share(module: str, classes: list[str]) -> bool:
    """Say whether a word of a class begins as some part of the module's name does."""
    words = {word.lower() for name in classes for word in re.findall(r"[A-Z][a-z]+", name)}
    return any(word[:4] in module for word in words)


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
