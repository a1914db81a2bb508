"""`python -m fusefs`: mount a bucket, or ask whether a mount is well.

Exit codes: 0 done, 1 something could not be uploaded or the probe failed, 2 wrong usage or a mount
that can't start.
"""

import sys


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    # The keeper must stay small and a probe quick: neither may import boto3 or structlog.
    if arguments[:1] == ["keeper"]:
        from . import keeper

        return keeper.main(arguments[1:])
    if arguments[:1] == ["probe"]:
        from . import probe

        return probe.main(arguments[1:])
    return _with_logs(arguments)


def _with_logs(arguments: list[str]) -> int:
    import logging

    from . import command, logs
    from .errors import SetupError

    logs.set_up()
    try:
        return command.run(arguments)
    except SetupError as error:
        logging.getLogger("fusefs").critical("%s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
