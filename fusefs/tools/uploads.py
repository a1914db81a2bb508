"""`fusefs abort-uploads`: unfinished uploads of a bucket, listed or aborted.

They take space and money and are seen by no listing. A mount aborts those of its prefix by itself;
this is for buckets that nothing mounts any more. Not here: which uploads are a mount's own, which
is `write.abandoned`. Main thread only.
"""

import argparse
import time

from fusefs.errors import FsError, NotFound
from fusefs.mount import settings as parse
from fusefs.s3.store import Store
from fusefs.s3.unfinished import Unfinished, idle
from fusefs.tools import place
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Screen, duration, plural


class UploadCommand:
    """The command and its options."""

    name = "abort-uploads"
    help = "abort multipart uploads that nobody goes on with"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        place.add_bucket(parser)
        parser.add_argument(
            "--older-than", default="1d", help="spare those that got a part since (default 1d)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only list them")

    def run(self, args: argparse.Namespace, settings_of: SettingsOf, screen: Screen) -> int:
        """Abort them; return 1 if one was refused."""
        age = parse.seconds(args.older_than, "--older-than")
        mount = place.settings(args, settings_of)
        store = place.store_of(mount)
        try:
            found = old(store, mount.prefix, age)
            refused = 0 if args.dry_run else sum(not aborted(store, each) for each in found)
        finally:
            store.close()
        done = "would be aborted" if args.dry_run else "aborted"
        screen.line(f"{plural(len(found) - refused, 'upload')} {done}")
        if refused:
            screen.line(f"{plural(refused, 'upload')} refused: s3:AbortMultipartUpload is needed")
        for each in found:
            screen.line(f"  {each.key}  begun {duration(time.time() - each.begun)} ago")
        if screen.as_json:
            rows = [{"key": each.key, "upload": each.upload} for each in found]
            screen.document({"uploads": rows, "refused": refused, "dry_run": args.dry_run})
        return 1 if refused else 0


def old(store: Store, prefix: str, age: float) -> list[Unfinished]:
    """Return the uploads under a prefix that got no part for `age` seconds."""
    return list(idle(store, prefix, store.server_time() - age))


def aborted(store: Store, upload: Unfinished) -> bool:
    """Abort an upload; return whether it is gone."""
    try:
        store.uploads.abort(upload.key, upload.upload)
    except NotFound:
        return True
    except FsError:
        return False
    return True
