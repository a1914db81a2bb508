"""The command line: words to settings, and which part of the package serves them."""

import argparse
import errno
import logging
import os
import subprocess
import threading
from pathlib import Path

from . import settings as parse
from .attributes import Defaults
from .errors import SetupError
from .mounting import Mounted, open_mount
from .settings import Mount
from .store import StoreSettings

log = logging.getLogger(__name__)


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` say; return the exit code."""
    told = _parser().parse_args(arguments)
    if told.command == "probe":
        from .probe import probe

        return probe(Path(told.mountpoint), told.timeout)
    return mount(mount_settings(told))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fusefs", description="S3 as a filesystem")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_mount(commands.add_parser("mount", help="mount a bucket, in the foreground"))
    asked = commands.add_parser("probe", help="exit 0 if a mount answers")
    asked.add_argument("mountpoint")
    asked.add_argument("--timeout", type=float, default=3.0, help="seconds (default 3)")
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
    add("--cache-size", default="1Gi", help="limit of the cache (default 1Gi)")
    add("--memory-limit", default="128Mi", help="limit of read buffers (default 128Mi)")
    add("--read-only", action="store_true")
    add("--uid", default="0", help="owner of files without stored attributes (default 0)")
    add("--gid", default="0")
    add("--file-mode", default="0644")
    add("--dir-mode", default="0755")
    add("--allow-other", action="store_true", help="other users may use the mount")
    add("--metadata", choices=["posix", "none"], default="posix")
    add("--attr-ttl", default="60s", help="how long names and attributes are trusted")
    add("--on-conflict", choices=["fail", "overwrite"], default="fail")
    add("--driver", choices=["native", "fusepy"], default="fusepy")
    add("--fake-disk-free", help=argparse.SUPPRESS)
    add("-o", dest="options", action="append", default=[], metavar="NAME=VALUE,…")


def mount_settings(told: argparse.Namespace) -> Mount:
    """Return the settings of `fusefs mount`; raises SetupError naming the wrong option."""
    bucket, prefix = parse.bucket_and_prefix(told.bucket)
    store = StoreSettings(
        bucket,
        endpoint_url=told.endpoint_url,
        region=told.region,
        profile=told.profile,
        credentials_dir=Path(told.credentials_dir) if told.credentials_dir else None,
    )
    return Mount(
        store,
        Path(told.mountpoint),
        prefix,
        cache_dir=Path(told.cache_dir) if told.cache_dir else None,
        cache_size=parse.size(told.cache_size, "--cache-size"),
        memory_limit=parse.size(told.memory_limit, "--memory-limit"),
        read_only=told.read_only,
        allow_other=told.allow_other,
        metadata=told.metadata,
        defaults=Defaults(
            parse.number(told.uid, "--uid"),
            parse.number(told.gid, "--gid"),
            parse.mode(told.file_mode, "--file-mode"),
            parse.mode(told.dir_mode, "--dir-mode"),
        ),
        attr_ttl=parse.seconds(told.attr_ttl, "--attr-ttl"),
        on_conflict=told.on_conflict,
        driver=told.driver,
        fake_disk_free=parse.size(told.fake_disk_free, "--fake-disk-free")
        if told.fake_disk_free
        else None,
    )


def mount(settings: Mount) -> int:
    """Mount in the foreground until SIGTERM, SIGINT or an unmount; return the exit code."""
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

    options: dict[str, object] = {
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
    if settings.allow_other:
        options["allow_other"] = True
    if settings.read_only:
        options["ro"] = True
    if settings.nonempty:
        options["nonempty"] = True
    portable.run(filesystem, str(settings.mountpoint), ready, **options)  # type: ignore[arg-type]
