"""Which bucket and which cache directory a command is about.

On one machine they come from the arguments. In a pod's worker none are needed: its own
configuration says it, and `--mount NAME` chooses where there are several. Main thread only.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.mount.settings import MountSettings
from fusefs.run import podconfig
from fusefs.s3.store import Store

SettingsOf = Callable[[Sequence[str]], MountSettings]
# Of `fusefs mount`, passed on to it as they are.
PASSED = ("endpoint-url", "region", "profile", "credentials-dir", "cache-dir")


def add_bucket(parser: argparse.ArgumentParser) -> None:
    """Let a command be about a bucket."""
    parser.add_argument(
        "bucket", nargs="?", metavar="BUCKET[/PREFIX]", help="default: the pod's own mount"
    )
    add_mount(parser)
    for name in PASSED[:-1]:
        parser.add_argument(f"--{name}", help="as of `fusefs mount`")


def add_mount(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Let a command be about one of a pod's mounts, or a cache directory.

    With `argparse.SUPPRESS` an action of the command has the options, too, without a default that
    would undo what stands before the action.
    """
    parser.add_argument("--mount", metavar="NAME", default=default, help="which of a pod's mounts")
    parser.add_argument(
        "--cache-dir", default=default, help="as of `fusefs mount`: what its mount left there"
    )


def settings(args: argparse.Namespace, settings_of: SettingsOf) -> MountSettings:
    """Return the settings of the mount that a command is about; SetupError if there is none."""
    if getattr(args, "bucket", None):
        given = [(name, getattr(args, name.replace("-", "_"), None)) for name in PASSED]
        words = [f"--{name}={value}" for name, value in given if value]
        return settings_of(["mount", *words, "--", args.bucket, "/"])
    found = _of_pod(settings_of)
    if args.mount is None and len(found) == 1:
        return next(iter(found.values()))
    if args.mount not in found:
        raise SetupError(f"--mount must be one of {', '.join(found)}")
    return found[args.mount]


def _of_pod(settings_of: SettingsOf) -> dict[str, MountSettings]:
    if protocol.CONFIG not in os.environ:
        raise SetupError("name a BUCKET[/PREFIX]; only in a pod's worker is it known")
    mounts = protocol.parse_document(os.environ[protocol.CONFIG])
    return {str(each["name"]): settings_of(podconfig.arguments(each)) for each in mounts}


def cache_of(args: argparse.Namespace, settings_of: SettingsOf) -> Path | None:
    """Return the cache directory that a command is about; None where no argument names it."""
    if args.cache_dir:
        if not os.path.isdir(args.cache_dir):  # noqa: PTH112 - a text, as it was given
            raise SetupError(f"--cache-dir {args.cache_dir}: no such directory")
        return Path(args.cache_dir)
    if getattr(args, "bucket", None):
        return None
    if not hasattr(args, "bucket") and protocol.CONFIG not in os.environ:
        raise SetupError("name the --cache-dir of the mount; only in a pod's worker is it known")
    return settings(args, settings_of).cache_dir


def kept(folder: Path, suffix: str) -> list[Path]:
    """Return the files of a cache directory's folder with a suffix; OSError if it can't be read.

    None where there is no such folder. `glob` would have none, too, where it may not look.
    """
    try:
        return sorted(Path(each) for each in os.scandir(folder) if each.name.endswith(suffix))
    except FileNotFoundError:
        return []


def store_of(mount: MountSettings) -> Store:
    """Return its store, with the patience of somebody who waits for an answer."""
    return Store(replace(mount.store, retries=2, retry_for=5.0, connect_timeout=3.0))


def prefix_of(mount: MountSettings) -> str:
    """Return a bucket and its prefix as people write them."""
    return f"s3://{mount.store.bucket}/{mount.prefix}"
