"""What of a wing others may import, and the drawing of the wings."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests import wings
from tests.sources import modules, own_imports
from tests.test_architecture import WINGS

# The face of each wing: its modules that modules outside of it import. The others are its own
# business. A new name here is a decision, as a new arrow between wings is.
FACES: dict[str, dict[str, str]] = {
    "fusefs": {
        "cli": "command",
        "tools": "command",
        "run": (
            "parser podconfig podworker portable probe servedmount serving status supervisor worker"
        ),
        "mount": "metricsport mount optionvalues settings",
        "posix": "filesystem openfiles sweeps",
        "names": (
            "firstbytes listing lookup markers namespace objectmoves pagememory pages remembered "
            "rename rootattributes selfcopy tree"
        ),
        "write": (
            "abandoned contents filecontent flush serversidecopy staged staging unsent "
            "uploader uploadplan"
        ),
        "read": "nodesource readahead reader version",
        "cache": "blockindex cache cachefile",
        "session": "sessionlog startmode",
        "node": "command",
        "keeper": "cacheprotocol client command connections keptmount protocol requests",
        "kernel": "backing mountcalls negotiation notify session wire",
        "s3": "client conditionprobes conditions credentials manyheads partbody settings store"
        " storefeatures unfinished uploads",
        "disk": "audit boot diskhealth fallocate leftbehind linefile pagecache presence space",
    },
    "webhook": {
        "events": "collector",
        "offline": "clusterstatus commands",
        "serve": "cluster log reference replica settings",
        "review": "admission decision lookup warnings",
        "policy": "file rules unmatched",
        "pod": "compatibility equipment injection memory mesh nodevolumes placement ports",
        "spec": "annotations mountspec reference",
        "platform": "environment nodekey reporting resources settings",
        "parse": (
            "boundedcache buckets globs jsontext quantities s3fsoptions settingvalues table "
            "values yamldocs"
        ),
    },
}


def imported_from_outside(package: str) -> dict[str, dict[str, set[str]]]:
    """Return for each wing its modules that others import, and who does."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module in modules().values():
        if module.package == package:
            for other in own_imports(module):
                there = wings.wing(other)
                if there not in {wings.wing(module.name), wings.GROUND}:
                    found[there][other.split(".", 2)[-1]].add(module.name)
    return found


@pytest.mark.parametrize("package", FACES)
def test_only_the_face_of_a_wing_is_imported(package: str) -> None:
    """What isn't listed can be changed by looking at one folder."""
    behind = [
        f"{importer} may not import {wing}.{name}: the face of {wing} is {FACES[package][wing]}"
        for wing, names in imported_from_outside(package).items()
        for name, importers in names.items()
        if name not in FACES[package].get(wing, "").split()
        for importer in sorted(importers)
    ]
    assert behind == []


@pytest.mark.parametrize("package", FACES)
def test_a_face_has_no_module_that_nobody_imports(package: str) -> None:
    """A module that others stopped to import leaves the list."""
    used = imported_from_outside(package)
    listed = {(wing, name) for wing, names in FACES[package].items() for name in names.split()}
    assert [each for each in sorted(listed) if each[1] not in used[each[0]]] == []


@pytest.mark.parametrize("package", WINGS)
def test_every_arrow_that_is_allowed_is_there(package: str) -> None:
    """The table promises no more than the modules need."""
    drawn = wings.arrows(package)
    unused = [
        (above, below)
        for above, allowed in WINGS[package].items()
        for below in sorted(allowed - drawn.get(above, set()))
    ]
    assert unused == []


def test_the_drawing_of_the_wings_is_that_of_the_imports() -> None:
    """`make wings` draws docs/design.md anew."""
    assert wings.section() in wings.PAGE.read_text()
