"""`python -m fusefs`: mount a bucket, or ask whether a mount is well.

Exit codes: 0 done, 1 something could not be uploaded or the probe failed, 2 wrong usage or a mount
that can't start.
"""

import logging
import sys

from . import command, logs
from .errors import SetupError


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    logs.set_up()
    try:
        return command.run(arguments)
    except SetupError as error:
        logging.getLogger("fusefs").critical("%s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
