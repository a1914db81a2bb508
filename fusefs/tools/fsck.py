"""`fusefs fsck`: what of a bucket a mount can't show, and what was left behind.

It reads listings and, with `--attributes`, the metadata of each object; no content. `--fix` does
what loses nothing: it aborts old uploads. Objects are never changed: which of two is right only
their owner knows. Not here: what to do about a finding (docs/tools.md). Main thread only.
"""

import argparse
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fusefs import keys
from fusefs.errors import FsError
from fusefs.mount import settings as parse
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store
from fusefs.tools import place, uploads
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Screen, plural

SHOWN = 100  # findings that are shown one by one
UNSHOWN, CLASH, LONG = "can't be shown", "file and directory", "name too long"
ATTRIBUTES, UPLOAD, JOURNAL = "attributes", "unfinished upload", "left in the cache"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know of a key, or of a file of the cache volume."""

    kind: str
    where: str
    what: str


class FsckCommand:
    """The command and its options."""

    name = "fsck"
    help = "look for keys that can't be shown, clashes, old uploads and journals"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        place.add_bucket(parser)
        parser.add_argument("--fix", action="store_true", help="abort old uploads")
        parser.add_argument("--attributes", action="store_true", help="HEAD each object, too")
        parser.add_argument(
            "--older-than", default="1d", help="of uploads that are left (default 1d)"
        )

    def run(self, args: argparse.Namespace, settings_of: SettingsOf, screen: Screen) -> int:
        """Look at it all; return 1 if anything was found that is still there."""
        age = parse.seconds(args.older_than, "--older-than")
        mount = place.settings(args, settings_of)
        cache = place.cache_of(args, settings_of)
        store = place.store_of(mount)
        try:
            findings, count = examine(store, mount.prefix, args.attributes)
            left = uploads.old(store, mount.prefix, age)
            fixed = [each for each in left if args.fix and uploads.aborted(store, each)]
        finally:
            store.close()
        findings += [
            Finding(UPLOAD, each.key, "begun and never ended: --fix aborts it")
            for each in left
            if each not in fixed
        ]
        findings += journals(cache) if cache is not None else []
        _print(screen, place.prefix_of(mount), count, findings, len(fixed))
        return 1 if findings else 0


def _print(screen: Screen, where: str, count: int, findings: list[Finding], fixed: int) -> None:
    screen.line(f"{where}: {plural(count, 'object')}, {plural(len(findings), 'finding')}")
    if fixed:
        screen.line(f"{plural(fixed, 'upload')} aborted")
    if findings:
        rows = [(each.kind, each.where, each.what) for each in findings[:SHOWN]]
        screen.table(("finding", "where", "what"), rows)
    if len(findings) > SHOWN:
        screen.line(f"and {len(findings) - SHOWN} more; --json has them all")
    if screen.as_json:
        documents = [asdict(each) for each in findings]
        screen.document({"objects": count, "findings": documents, "aborted": fixed})


def examine(store: Store, prefix: str, heads: bool) -> tuple[list[Finding], int]:
    """Return the findings about all objects under a prefix, and how many there are."""
    findings: list[Finding] = []
    count, look = 0, Names(prefix)
    for objects in pages(store, prefix):
        for info in objects:
            count += 1
            findings += look.look(info.key)
            if heads:
                findings += of_attributes(store, info)
    return findings, count


def pages(store: Store, prefix: str) -> Iterator[tuple[ObjectInfo, ...]]:
    """Yield all objects under a prefix, page by page."""
    token = None
    while True:
        page = store.list_page(prefix, delimiter="", token=token)
        yield page.objects
        token = page.next_token
        if token is None:
            return


class Names:
    """The findings about names, made key by key in the order of a listing.

    Kept are only the objects whose key begins the present one, so a bucket may be of any size; in
    stores whose listings have no order (directory buckets) some clashes aren't found.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._above: list[str] = []

    def look(self, key: str) -> list[Finding]:
        """Return what is to be said of one key."""
        self._above = [each for each in self._above if key.startswith(each)]
        clashing = [each for each in self._above if key.startswith(f"{each}/")]
        self._above = [each for each in self._above if each not in clashing]
        if not key.endswith("/"):
            self._above.append(key)
        return [*_of_name(key, self._prefix), *map(_clash, clashing)]


def _clash(key: str) -> Finding:
    return Finding(CLASH, key, "the directory is shown; rename the object to see the file")


def _of_name(key: str, prefix: str) -> list[Finding]:
    names = key[len(prefix) :].removesuffix("/").split("/")
    if key != prefix and not all(map(keys.shown, names)):
        return [Finding(UNSHOWN, key, "an empty name, . or .. is in it: rename it by an S3 tool")]
    if any(len(name.encode()) > keys.MAX_NAME for name in names):
        return [Finding(LONG, key, f"a name of more than {keys.MAX_NAME} bytes")]
    return []


def of_attributes(store: Store, info: ObjectInfo) -> list[Finding]:
    """Return what is wrong with an object's metadata; one request."""
    try:
        return list(_of_metadata(store.head(info.key)))
    except FsError as error:
        return [Finding(ATTRIBUTES, info.key, f"can't be read: {error}")]


def _of_metadata(info: ObjectInfo) -> Iterator[Finding]:
    text = info.headers.metadata.get("mode", "") if info.headers is not None else ""
    if not text:
        return
    if not text.isdigit():
        yield Finding(ATTRIBUTES, info.key, f"x-amz-meta-mode is no number: {text[:20]}")
    elif stat.S_ISDIR(int(text)) and not info.key.endswith("/") and info.size:
        yield Finding(ATTRIBUTES, info.key, "says that it is a directory, and has content")
    elif stat.S_ISREG(int(text)) and info.key.endswith("/"):
        yield Finding(ATTRIBUTES, info.key, "says that it is a file, and is a directory's marker")


def journals(cache: Path) -> list[Finding]:
    """Return what a mount left on its cache volume that isn't in the store."""
    kinds = {
        ("staged", ".log"): "changes that aren't uploaded: the next mount with this cache does it",
        ("renames", ".json"): "a directory's rename that isn't finished: the next mount does it",
        ("conflicts", ".log"): "a writer that lost a race: fusefs conflicts",
    }
    return [
        Finding(JOURNAL, str(path), what)
        for (folder, suffix), what in kinds.items()
        for path in place.kept(cache / folder, suffix)
    ]
