"""`python -m fusefs`: mount a bucket, serve mounts, or check one.

Exit codes: 0 done, 1 something could not be uploaded or the probe failed, 2 wrong usage or a mount
that can't start.
"""

import sys
from typing import NoReturn

from fusefs.errors import SetupError


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    try:
        return _run(arguments)
    except SetupError as error:
        from fusefs import logs

        logs.set_up(form=logs.form_of(arguments))
        logs.critical(str(error))
        return 2


def _run(arguments: list[str]) -> int:
    # The keeper must stay small and a probe quick: neither may import boto3 or logging.
    if arguments[:1] == ["keeper"]:
        from fusefs.keeper import command as keeper

        return keeper.main(arguments[1:])
    if arguments[:1] == ["node"]:
        from fusefs.node import command as node  # grpcio: an extra, and large

        return node.main(arguments[1:])
    if arguments[:1] == ["probe"]:
        from fusefs.run import probe

        return probe.main(arguments[1:])
    from fusefs import logs

    logs.set_up(form=logs.form_of(arguments))
    if arguments[:1] == ["worker"] and "--supervise" in arguments:
        from fusefs.run import podworker

        return podworker.main([word for word in arguments[1:] if word != "--supervise"])
    from fusefs.cli import command

    return command.run(arguments)


def entry() -> NoReturn:
    """Run the command line of this process: the program `fusefs`."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
