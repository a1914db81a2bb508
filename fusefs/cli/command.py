"""The command line: arguments to settings, and the part of the package that runs them."""

import argparse
import errno
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from fusefs import __version__, logs
from fusefs.attributes import Defaults
from fusefs.cli import optionlist
from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.kernel import mountcalls
from fusefs.mount import settings as parse
from fusefs.mount.settings import MountSettings
from fusefs.run import status
from fusefs.run.parser import Parser
from fusefs.s3.settings import RETRY_FOR, StoreSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
# The commands of `tools`, which is loaded for them alone.
FOR_PEOPLE = {
    "status": "show what mounts do now",
    "warm": "read files of a mount once, so that they are in its cache",
    "fsck": "look for keys that can't be shown, clashes, old uploads and journals",
    "abort-uploads": "abort multipart uploads that nobody goes on with",
    "conflicts": "list, show, merge or discard what lost a race against another writer",
    "explain": "say why a file can't be read or written",
}


def run(arguments: list[str]) -> int:
    """Run the command in `arguments`; return the exit code."""
    if arguments[:1] and arguments[0] in FOR_PEOPLE:
        from fusefs.tools import command as tools

        return tools.run(arguments[0], arguments[1:], _settings_of)
    args = _parser().parse_args(arguments)
    if args.command == "options":
        from fusefs.tools import command as tools

        return tools.show("options", optionlist.markdown())
    if args.command == "worker":
        _work(args)
    return mount(_settings_of(arguments), arguments)


def _work(args: argparse.Namespace) -> NoReturn:
    _say_version()
    # Imported late: a supervisor doesn't need boto3.
    from fusefs.run import serving
    from fusefs.run import worker as workers
    from fusefs.run.servedmount import WorkerOptions

    session = WorkerOptions(args.socket, args.status_socket, once=args.once)
    port = parse.port(args.metrics_port, "--metrics-port") if args.metrics_port else None
    drain = parse.seconds(args.drain_time, "--drain-time") if args.drain_time else None
    reached = Path(args.reached) if args.reached else None
    how = serving.ServingSettings(args.config, port, drain, reached)
    workers.leave(serving.worker(_settings_of, how, session))


def _say_version() -> None:
    log.info("s3mount %s", __version__)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m fusefs", description="S3 as a filesystem", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"s3mount {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_mount(
        commands.add_parser("mount", help="mount a bucket, in the foreground", allow_abbrev=False)
    )
    _add_worker(commands.add_parser("worker", help="serve the mounts of a pod"))
    commands.add_parser("keeper", help="hold the mounts of a pod (see keeper --help)")
    commands.add_parser("probe", help="exit 0 if a mount is well (see probe --help)")
    for name, text in FOR_PEOPLE.items():
        commands.add_parser(name, help=text)
    commands.add_parser("options", help="print the table of all -o options, as Markdown")
    return parser


def _add_worker(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--config", metavar="FILE", help=f"default: ${protocol.CONFIG}")
    add("--socket", default=protocol.SOCKET, help="the keeper's socket")
    add("--metrics-port", help="serve Prometheus metrics there (0: any free port)")
    add("--drain-time", help="how long uploads may take after SIGTERM (default 25s)")
    add("--status-socket", default=status.SOCKET, help="where probes ask")
    add("--supervise", action="store_true", help="start it again at once when it dies")
    add("--once", action="store_true", help="end in good order when the mount is gone")
    add("--log-format", choices=logs.FORMS, default=logs.AUTO, help="form of the log")
    add("--reached", metavar="FILE", help="reach the bucket before asking the keeper, say so there")


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
    add("--node-cache", help="socket of the cache that the pods of a node share")
    add("--memory-limit", help="limit of buffers; names take up to 3/8 of it more (default 128Mi)")
    add("--background-fill", help="percent of the cache for a file read at random (default 25)")
    add("--read-only", action="store_true")
    add(
        "--passthrough",
        action="store_true",
        help="the kernel reads files that are cached as a whole, though they may be written: who "
        "had one open doesn't see what is written to it in this mount",
    )
    _add_attributes(command)
    add("--attr-ttl", help="how long names and attributes are trusted (default 60s)")
    add("--abort-uploads", help="age of abandoned uploads to be aborted (default 24h, 0: none)")
    add("--negative-ttl", help="how long a missing name isn't asked for again (default 1s)")
    add(
        "--content-ttl",
        help="how old a version may be that an open to read gets, and a listing that tells that a "
        "name isn't there (default 0s)",
    )
    add("--retry-for", help="how long a request waits for a store that's away (default 30s)")
    add("--sdk-only", action="store_true", help="send small requests through boto3, too (slower)")
    add("--without", help=f"what not to do to save requests and time: {', '.join(parse.SAVINGS)}")
    add("--drain-time", help="how long uploads may take after SIGTERM (default 25s)")
    add("--full-wait", help="how long a write waits for room in a full cache (default 10s)")
    add("--on-conflict", choices=["fail", "overwrite"], default="fail")
    add(
        "--driver",
        choices=["native", "fusepy"],
        help="default: native where root may mount, else fusepy",
    )
    add("--metrics-port", help="serve Prometheus metrics there (0: any free port)")
    add(
        "--log-format",
        choices=logs.FORMS,
        default=logs.AUTO,
        help="form of the log (default auto: text on a terminal, else JSON lines)",
    )
    add("--fake-disk-free", help=argparse.SUPPRESS)
    add(
        "-o",
        dest="options",
        action="append",
        default=[],
        metavar="NAME=VALUE,…",
        help="options by the names s3fs has for them; `options` prints all",
    )


def _add_attributes(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--uid", help="owner of files without stored attributes (default 0)")
    add("--gid", help="group of files without stored attributes (default 0)")
    add("--file-mode", help="mode of files without stored attributes (default 0644)")
    add("--dir-mode", help="mode of directories without stored attributes (default 0755)")
    add("--allow-other", action="store_true", help="other users may use the mount")
    add("--metadata", choices=["posix", "none"], default="posix")


class _Reader:
    """Reads the options of a command line, and collects the errors in them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.wrong: list[str] = []

    def __call__(self, parse: Callable[[str, str], T], option: str, otherwise: T) -> T:
        """Return the value of an option, or `otherwise` if it is missing or wrong."""
        text = getattr(self._args, option.removeprefix("--").replace("-", "_"))
        if text is None:
            return otherwise
        try:
            return parse(text, option)
        except SetupError as error:
            self.wrong.append(str(error))
            return otherwise


def mount_settings(args: argparse.Namespace) -> MountSettings:
    """Return the settings of `fusefs mount`; raises SetupError naming every wrong option."""
    read = _Reader(args)
    named = optionlist.read(args.options)
    bucket, prefix = read(lambda text, _: parse.bucket_and_prefix(text), "bucket", ("", ""))
    base = MountSettings(_store(bucket, args, read), Path(args.mountpoint), prefix)
    mount = named.applied(_mount(base, args, read))
    if wrong := [*read.wrong, *named.problems, *parse.too_large(mount)]:
        raise SetupError("; ".join(wrong))
    if named.idle:
        log.info("options without effect here", extra={"options": named.idle})
    connections = max(mount.store.connections, mount.connections)
    return replace(mount, store=replace(mount.store, connections=connections))


def _store(bucket: str, args: argparse.Namespace, read: _Reader) -> StoreSettings:
    return StoreSettings(
        bucket,
        endpoint_url=read(parse.endpoint, "--endpoint-url", None),
        region=args.region,
        profile=args.profile,
        credentials_dir=read(parse.path, "--credentials-dir", None),
        direct=not args.sdk_only,
        retry_for=read(parse.seconds, "--retry-for", RETRY_FOR),
    )


_percent = partial(parse.number, most=100)


def _mount(base: MountSettings, args: argparse.Namespace, read: _Reader) -> MountSettings:
    least = partial(parse.size, least=1 << 20)  # what the kernel writes at once
    owner = base.defaults
    without = read(parse.savings, "--without", base.without)
    if args.passthrough and "passthrough" in without:
        read.wrong.append(
            "--passthrough and --without passthrough contradict each other: leave one out"
        )
    return replace(
        base,
        cache_dir=read(parse.path, "--cache-dir", base.cache_dir),
        cache_size=read(least, "--cache-size", base.cache_size),
        node_cache=read(parse.path, "--node-cache", base.node_cache),
        memory_limit=read(least, "--memory-limit", base.memory_limit),
        background_fill=read(_percent, "--background-fill", base.background_fill),
        read_only=args.read_only,
        passthrough=args.passthrough,
        allow_other=args.allow_other,
        metadata=args.metadata,
        defaults=Defaults(
            read(parse.number, "--uid", owner.uid),
            read(parse.number, "--gid", owner.gid),
            read(parse.mode, "--file-mode", owner.file_mode),
            read(parse.mode, "--dir-mode", owner.dir_mode),
        ),
        attr_ttl=read(parse.seconds, "--attr-ttl", base.attr_ttl),
        abort_uploads=read(parse.seconds, "--abort-uploads", base.abort_uploads),
        negative_ttl=read(parse.seconds, "--negative-ttl", base.negative_ttl),
        content_ttl=read(parse.seconds, "--content-ttl", base.content_ttl),
        without=without,
        on_conflict=args.on_conflict,
        driver=args.driver,
        metrics_port=read(parse.port, "--metrics-port", base.metrics_port),
        drain_seconds=read(parse.seconds, "--drain-time", base.drain_seconds),
        full_wait=read(parse.seconds, "--full-wait", base.full_wait),
        fake_disk_free=read(parse.size, "--fake-disk-free", base.fake_disk_free),
    )


def mount(settings: MountSettings, words: Sequence[str]) -> int:
    """Mount in the foreground until SIGTERM, SIGINT or an unmount; return the exit code."""
    _usable(settings.mountpoint, settings.nonempty)
    _say_version()
    native = mountcalls.may_mount()  # `_usable` has opened the device
    if settings.driver == "native" or (settings.driver is None and native):
        if not native:
            raise SetupError(
                "the native driver needs root (or CAP_SYS_ADMIN) and /dev/fuse; use --driver fusepy"
            )
        from fusefs.run import supervisor

        return supervisor.supervise(settings, words, logs.form_of(words))
    from fusefs.run import portable

    return portable.portable(settings)


def _settings_of(words: Sequence[str]) -> MountSettings:
    """Return the settings of a `mount` command line."""
    settings = mount_settings(_parser().parse_args(words))
    if settings.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    return settings


def _usable(mountpoint: Path, nonempty: bool) -> None:
    """Make the mountpoint if it is missing, and check that it can be mounted on."""
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
    """Unmount a mount whose server died: every access to it fails."""
    log.warning("unmounting the mount of a dead process", extra={"mountpoint": str(mountpoint)})
    try:
        if mountcalls.may_mount():
            mountcalls.unmount(str(mountpoint))
        else:
            _fusermount(mountpoint)
    except OSError as error:
        raise SetupError(
            f"mountpoint {mountpoint}: a dead mount is in the way: {error.strerror or error}"
        ) from error


def _fusermount(mountpoint: Path) -> None:
    done = subprocess.run(
        ["fusermount", "-u", "-z", str(mountpoint)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.strip())
