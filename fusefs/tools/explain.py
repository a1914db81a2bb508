"""`fusefs explain KEY`: why a file can't be read or written, asked of the store step by step.

A program sees EIO or EACCES; this sends the requests that a mount would and says of each what came
back and what to do. It reads one byte and writes nothing. Main thread only.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fusefs import keys
from fusefs.errors import AccessDenied, FsError, NotFound, Unavailable
from fusefs.s3.client import code_of, refuses_keys, status_of
from fusefs.s3.store import Store
from fusefs.tools import place
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Screen


@dataclass(frozen=True, slots=True)
class Step:
    """One question: `well` says whether it was answered; `do` is what helps where it wasn't."""

    asked: str
    well: bool
    answer: str
    do: str = ""


FORBIDDEN = 403
WRONG_KEYS = "the keys are wrong or have run out: look at the Secret or the role"
NO_BUCKET = "there is no such bucket: look at its name, the region and the endpoint"
NEEDED = {
    "LIST": "grant s3:ListBucket on the bucket",
    "HEAD": "grant s3:GetObject on the key (and s3:ListBucket, else a missing key looks forbidden)",
    "GET": "grant s3:GetObject on the key, and kms:Decrypt where it is encrypted with KMS",
}


class ExplainCommand:
    """The command and its options."""

    name = "explain"
    help = "say why a file can't be read or written"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("key", metavar="KEY", help="the file's path below the mount")
        place.add_bucket(parser)

    def run(self, args: argparse.Namespace, settings_of: SettingsOf, screen: Screen) -> int:
        """Ask; return 1 if something is wrong."""
        mount = place.settings(args, settings_of)
        key = mount.prefix + args.key.lstrip("/")
        cache = place.cache_of(args, settings_of)
        store = place.store_of(mount)
        try:
            steps = [_name(args.key), *_asked(store, key)]
        finally:
            store.close()
        steps += _kept(cache, key) if cache is not None else []
        rows = [(each.asked, each.answer, each.do) for each in steps]
        screen.table(("asked", "answer", "what to do"), rows)
        if screen.as_json:
            screen.document({"key": key, "steps": [asdict(each) for each in steps]})
        return 0 if all(each.well for each in steps) else 1


def _name(path: str) -> Step:
    names = path.strip("/").split("/")
    wrong = [name for name in names if not keys.shown(name) or len(name.encode()) > keys.MAX_NAME]
    if wrong:
        return Step("the name", False, f"{wrong[0]!r} can't be a file's name", "rename the object")
    return Step("the name", True, "can be shown")


def _asked(store: Store, key: str) -> list[Step]:
    parent = key.rpartition("/")[0] + "/" if "/" in key else ""
    steps = [_step("LIST", lambda: _page_in_words(store, parent))]
    if steps[0].do in (NO_BUCKET, WRONG_KEYS):
        return steps  # the other requests fail by the same, and HEAD can't say so: it has no body
    size = 0

    def head() -> str:
        nonlocal size
        info = store.head(key)
        size = info.size
        kept = dict(info.headers.metadata) if info.headers is not None else {}
        known = {name: kept[name] for name in ("mode", "uid", "gid", "mtime") if name in kept}
        placed = info.storage_class or "STANDARD"
        return f"{info.size} bytes, ETag {info.etag}, class {placed}, {known}"

    steps.append(_step("HEAD", head))
    if steps[-1].well and size:
        steps.append(_step("GET", lambda: f"{len(_first(store, key))} byte came"))
    return steps


def _page_in_words(store: Store, prefix: str) -> str:
    page = store.list_page(prefix, limit=1)
    where = prefix or "the bucket"
    return f"there are names in {where}" if page.objects or page.prefixes else f"{where} is empty"


def _first(store: Store, key: str) -> bytes:
    found = store.get_start(key, 1)
    return found[1] if found is not None else b""


def _step(request: str, ask: Callable[[], str]) -> Step:
    try:
        return Step(request, True, ask())
    except NotFound as error:
        return Step(request, False, str(error), "there is no such object, or no such bucket")
    except FsError as error:
        return Step(request, False, str(error), _remedy(request, error))


def _remedy(request: str, error: FsError) -> str:
    if refuses_keys(error):
        return WRONG_KEYS
    if code_of(error) == "NoSuchBucket":
        return NO_BUCKET
    if isinstance(error, AccessDenied):
        return NEEDED[request] if status_of(error) == FORBIDDEN else "give credentials"
    if isinstance(error, Unavailable):
        return "no answer: look at endpoint and network"
    return "see docs/troubleshooting.md"


def _kept(cache: Path, key: str) -> list[Step]:
    """Return what a mount's cache volume has of this key."""
    steps = []
    for folder, what, do in (
        ("staged", "changes that aren't uploaded", "the worker's log says why; it tries again"),
        ("conflicts", "a version that lost a race", "fusefs conflicts"),
    ):
        for journal in place.kept(cache / folder, ".log"):
            first = journal.read_text(errors="replace").partition("\n")[0]
            if f'"key": "{key}"' in first:
                steps.append(Step(f"{folder}/", False, f"{what}: {journal.name}", do))
    return steps
