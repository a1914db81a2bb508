"""The command line of the certificates: `python -m certs issue …` and `… rotate …`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from certs import folder
from certs.errors import CertsError
from certs.x509 import new_signer, sign_leaf


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 0, 1 with one line on stderr, or 2 for bad usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if getattr(options, "announce", None) and not (options.announce_in and options.replica):
        parser.error("--announce needs --announce-in and --replica")
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except CertsError as error:
        sys.stderr.write(f"certs: {error}\n")
        return 1
    except BrokenPipeError:
        _abandon_output()
        return 0
    except OSError as error:  # files have errors of ours
        _abandon_output()
        sys.stderr.write(f"certs: standard output: {error.strerror}; send it elsewhere\n")
        return 1
    return code


def _abandon_output() -> None:
    # Python would report what can't be written once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m certs", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    issue = commands.add_parser("issue", help="write a new CA and a leaf signed by it")
    issue.set_defaults(run=_issue)
    issue.add_argument(
        "--dns",
        action="append",
        required=True,
        metavar="NAME",
        help="DNS name or IP address of the server; repeat for more",
    )
    issue.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    issue.add_argument("--days", type=_days, default=365, help="validity of both (default 365)")
    issue.add_argument("--force", action="store_true", help="replace existing files")
    rotate = commands.add_parser("rotate", help="keep the webhook's certificates fresh, in a pod")
    rotate.set_defaults(run=_rotate)
    rotate.add_argument("--tls-dir", type=Path, required=True, metavar="DIR")
    rotate.add_argument("--service", required=True, metavar="NAME", help="of the webhook")
    rotate.add_argument("--namespace", required=True, metavar="NS", help="of Service and Secret")
    rotate.add_argument("--webhook-configuration", required=True, metavar="NAME")
    rotate.add_argument("--secret", required=True, metavar="NAME", help="where the CA is kept")
    rotate.add_argument("--announce", metavar="IMAGE", help="what this replica injects")
    rotate.add_argument("--announce-in", metavar="NAME", help="object that the guards read")
    rotate.add_argument("--replica", metavar="NAME", help="of this pod, for its announcement")
    return parser


def _days(text: str) -> int:
    # RFC 5280 dates end with the year 9999; a century is more than enough.
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of days from 1 to 36500")
    return int(text)


def _issue(options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    lifetime = timedelta(days=options.days)
    signer = new_signer(now, lifetime)
    leaf = sign_leaf(signer, options.dns, now, lifetime)
    for path in folder.write(options.out, signer, leaf, force=options.force):
        sys.stdout.write(f"{path}\n")
    return 0


def _rotate(options: argparse.Namespace) -> NoReturn:
    # Imported late: Kubernetes' client takes half a second, which `issue` doesn't need.
    from certs.agent import Agent, SystemClock, json_log
    from certs.announcement import Announcement
    from certs.cluster import ImagesBoard, KubernetesCluster, connect
    from certs.rotation import Rotation
    from certs.tlsdir import TlsDirectory

    # PID 1 has no default handler; files are swapped by rename, so the process may end any time.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    directory = TlsDirectory(options.tls_dir)
    api, clock = connect(), SystemClock()
    cluster = KubernetesCluster(
        api, options.namespace, options.secret, options.webhook_configuration
    )
    announcement = None
    if options.announce:
        board = ImagesBoard(api, options.namespace, options.announce_in)
        announcement = Announcement(board, clock, options.replica, options.announce)
    # The API server connects to NAME.NAMESPACE.svc; the longer name is for debugging.
    host = f"{options.service}.{options.namespace}.svc"
    names = [host, f"{host}.cluster.local"]
    rotation = Rotation(cluster, clock, names, directory.read())
    Agent(rotation, directory, json_log(), announcement).run(time.sleep)


if __name__ == "__main__":
    sys.exit(main())
