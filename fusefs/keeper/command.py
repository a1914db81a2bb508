"""The arguments of `python -m fusefs keeper`: serve the mounts, or hold them and run the server."""

import argparse
import os
import time

from fusefs import termination
from fusefs.errors import SetupError
from fusefs.keeper import holder, keeper, protocol
from fusefs.keeper.holder import Holding
from fusefs.keeper.keptmount import log

LOOK_SECONDS = 0.005  # between two looks for the file of `--after`


def main(arguments: list[str]) -> int:
    """Run the command `keeper`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fusefs keeper")
    parser.add_argument("--config", metavar="FILE", help=f"default: ${protocol.CONFIG}")
    parser.add_argument("--socket", default=protocol.SOCKET)
    parser.add_argument("--worker-uid", type=int, default=65534)
    parser.add_argument("--after", metavar="FILE", help="mount nothing before this file is there")
    parser.add_argument("--hold", action="store_true", help="start it again when it dies")
    parser.add_argument("--held-by", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    try:
        mounts = protocol.parse_document(protocol.read_document(os.environ, args.config))
        if args.hold:
            return holder.run(mounts, [word for word in arguments if word != "--hold"])
        while args.after is not None and not os.access(args.after, os.F_OK):
            time.sleep(LOOK_SECONDS)
        holding = None if args.held_by is None else Holding(args.held_by)
        return keeper.run(mounts, args.socket, args.worker_uid, holding)
    except SetupError as error:
        log("critical", str(error))
        termination.write(str(error))
        return 2
