"""The command line: words to settings, and which part of the package serves them."""

import argparse
import errno
import logging
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from . import options
from . import settings as parse
from .attributes import Defaults
from .errors import SetupError
from .mounting import Mounted, open_mount
from .settings import Mount
from .store import StoreSettings

log = logging.getLogger(__name__)

T = TypeVar("T")


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` say; return the exit code."""
    told = _parser().parse_args(arguments)
    if told.command == "probe":
        from .probe import probe

        return probe(Path(told.mountpoint), told.timeout)
    if told.command == "options":
        print(options.markdown(), end="")  # noqa: T201 - that is the command
        return 0
    return mount(mount_settings(told))


class _Parser(argparse.ArgumentParser):
    """argparse with one line for what is wrong, in place of the usage."""

    def error(self, message: str) -> NoReturn:
        raise SetupError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m fusefs", description="S3 as a filesystem", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_mount(
        commands.add_parser("mount", help="mount a bucket, in the foreground", allow_abbrev=False)
    )
    asked = commands.add_parser("probe", help="exit 0 if a mount answers", allow_abbrev=False)
    asked.add_argument("mountpoint")
    asked.add_argument("--timeout", type=float, default=3.0, help="seconds (default 3)")
    commands.add_parser("options", help="print the table of all -o options, as Markdown")
    return parser


def _add_mount(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("bucket", metavar="BUCKET[/PREFIX]")
    add("mountpoint")
    add("--endpoint-url", help="URL of a store that isn't AWS")
    add("--region", help="AWS region (default: the SDK's)")
    add("--profile", help="profile of the AWS configuration")
    add("--credentials-dir", help="directory with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …")
    add("--cache-dir", help="where blocks and unsent changes are kept")
    add("--cache-size", help="limit of the cache (default 1Gi)")
    add("--memory-limit", help="limit of read buffers (default 128Mi)")
    add("--read-only", action="store_true")
    add("--uid", help="owner of files without stored attributes (default 0)")
    add("--gid", help="group of files without stored attributes (default 0)")
    add("--file-mode", help="mode of files without stored attributes (default 0644)")
    add("--dir-mode", help="mode of directories without stored attributes (default 0755)")
    add("--allow-other", action="store_true", help="other users may use the mount")
    add("--metadata", choices=["posix", "none"], default="posix")
    add("--attr-ttl", help="how long names and attributes are trusted (default 60s)")
    add("--on-conflict", choices=["fail", "overwrite"], default="fail")
    add("--driver", choices=["native", "fusepy"], default="fusepy")
    add("--fake-disk-free", help=argparse.SUPPRESS)
    add(
        "-o",
        dest="options",
        action="append",
        default=[],
        metavar="NAME=VALUE,…",
        help="options by the names s3fs has for them; `options` prints all",
    )


class _Reader:
    """Reads the words of a command line, and collects what is wrong with them."""

    def __init__(self, told: argparse.Namespace) -> None:
        self._told = told
        self.wrong: list[str] = []

    def __call__(self, parse: Callable[[str, str], T], option: str, otherwise: T) -> T:
        """Return the value of an option, `otherwise` where it wasn't given or is wrong."""
        text = getattr(self._told, option.removeprefix("--").replace("-", "_"))
        if text is None:
            return otherwise
        try:
            return parse(text, option)
        except SetupError as error:
            self.wrong.append(str(error))
            return otherwise


def mount_settings(told: argparse.Namespace) -> Mount:
    """Return the settings of `fusefs mount`; raises SetupError naming every wrong option."""
    read = _Reader(told)
    named = options.read(told.options)
    bucket, prefix = read(lambda text, _: parse.bucket_and_prefix(text), "bucket", ("", ""))
    base = Mount(_store(bucket, told, read), Path(told.mountpoint), prefix)
    mount = named.applied(_mount(base, told, read))
    if wrong := [*read.wrong, *named.problems, *parse.too_large(mount)]:
        raise SetupError("; ".join(wrong))
    if named.idle:
        log.info("options that change nothing here", extra={"options": named.idle})
    connections = max(mount.store.connections, mount.connections)
    return replace(mount, store=replace(mount.store, connections=connections))


def _store(bucket: str, told: argparse.Namespace, read: _Reader) -> StoreSettings:
    return StoreSettings(
        bucket,
        endpoint_url=read(parse.endpoint, "--endpoint-url", None),
        region=told.region,
        profile=told.profile,
        credentials_dir=read(parse.path, "--credentials-dir", None),
    )


def _mount(base: Mount, told: argparse.Namespace, read: _Reader) -> Mount:
    least = partial(parse.size, least=1 << 20)  # what the kernel writes at once
    owner = base.defaults
    return replace(
        base,
        cache_dir=read(parse.path, "--cache-dir", base.cache_dir),
        cache_size=read(least, "--cache-size", base.cache_size),
        memory_limit=read(least, "--memory-limit", base.memory_limit),
        read_only=told.read_only,
        allow_other=told.allow_other,
        metadata=told.metadata,
        defaults=Defaults(
            read(parse.number, "--uid", owner.uid),
            read(parse.number, "--gid", owner.gid),
            read(parse.mode, "--file-mode", owner.file_mode),
            read(parse.mode, "--dir-mode", owner.dir_mode),
        ),
        attr_ttl=read(parse.seconds, "--attr-ttl", base.attr_ttl),
        on_conflict=told.on_conflict,
        driver=told.driver,
        fake_disk_free=read(parse.size, "--fake-disk-free", base.fake_disk_free),
    )


def mount(settings: Mount) -> int:
    """Mount in the foreground until SIGTERM, SIGINT or an unmount; return the exit code."""
    if settings.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    _usable(settings.mountpoint, settings.nonempty)
    mounted = open_mount(settings)
    try:
        serve_portable(settings, mounted.filesystem)
    finally:
        clean = _drain(mounted, settings.drain_seconds)
        mounted.close()
    log.info("unmounted", extra={"mountpoint": str(settings.mountpoint), "clean": clean})
    return 0 if clean else 1


def _drain(mounted: Mounted, seconds: float) -> bool:
    """Upload what is dirty, for so long; a second signal ends the process as usual."""
    mounted.refuse_writes()
    files, size = mounted.dirty()
    if files:
        log.info("uploading before the end", extra={"files": files, "bytes": size})
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        return mounted.drain(stop)
    finally:
        timer.cancel()


def _usable(mountpoint: Path, nonempty: bool) -> None:
    """Make sure that there is a directory to mount on; in a pod's fresh volume there is none."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise SetupError("/dev/fuse can't be opened; FUSE is missing or not allowed here")
    try:
        mountpoint.mkdir(exist_ok=True)
        if not nonempty and any(mountpoint.iterdir()):
            raise SetupError(
                f"mountpoint {mountpoint} is not empty; -o nonempty hides what is in it"
            )
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            _unmount_stale(mountpoint)
            return _usable(mountpoint, nonempty)
        raise SetupError(
            f"mountpoint {mountpoint} must be a directory that can be used: {error.strerror}"
        ) from error
    return None


def _unmount_stale(mountpoint: Path) -> None:
    """Take away a mount whose server died: it answers nothing any more."""
    log.warning("unmounting what a dead process left", extra={"mountpoint": str(mountpoint)})
    done = subprocess.run(
        ["fusermount", "-u", "-z", str(mountpoint)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SetupError(
            f"mountpoint {mountpoint}: a dead mount is in the way: {done.stderr.strip()}"
        )


def serve_portable(settings: Mount, filesystem: object) -> None:
    """Serve through fusepy until the mount ends."""
    try:
        from . import portable
    except ImportError as error:
        raise SetupError(str(error)) from error

    def ready() -> None:
        log.info(
            "mounted",
            extra={
                "bucket": settings.store.bucket,
                "prefix": settings.prefix,
                "mountpoint": str(settings.mountpoint),
            },
        )

    given: dict[str, object] = {
        "fsname": f"s3mount:{settings.store.bucket}",
        "subtype": "s3mount",
        "big_writes": True,
        "max_read": 1 << 20,
        "use_ino": True,
        "hard_remove": True,
        "default_permissions": True,
        "attr_timeout": 1,
        "entry_timeout": 1,
        "negative_timeout": 0,
    }
    wanted = {
        "allow_other": settings.allow_other,
        "ro": settings.read_only,
        "nonempty": settings.nonempty,
        "noexec": settings.noexec,
    }
    given |= {name: True for name, asked in wanted.items() if asked}
    portable.run(filesystem, str(settings.mountpoint), ready, **given)  # type: ignore[arg-type]
