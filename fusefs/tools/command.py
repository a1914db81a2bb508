"""The commands for people, and the options that all of them have.

Not here: `mount`, `worker` and the other commands that run mounts (`cli`). Main thread only.
"""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fusefs.errors import FsError, SetupError
from fusefs.run.parser import Parser
from fusefs.tools.conflicts import ConflictCommand
from fusefs.tools.explain import ExplainCommand
from fusefs.tools.fsck import FsckCommand
from fusefs.tools.livestatus import StatusCommand
from fusefs.tools.place import SettingsOf
from fusefs.tools.remedies import unusable
from fusefs.tools.screen import Screen
from fusefs.tools.uploads import UploadCommand
from fusefs.tools.warm import WarmCommand


class PeopleCommand(Protocol):
    """One command."""

    name: str
    help: str

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add its options."""

    def run(self, args: argparse.Namespace, settings_of: SettingsOf, screen: Screen) -> int:
        """Carry it out; return the exit code."""


FAILED = 1
INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT
log = logging.getLogger(__name__)

COMMANDS: tuple[PeopleCommand, ...] = (
    *(StatusCommand(), WarmCommand(), FsckCommand()),
    *(UploadCommand(), ConflictCommand(), ExplainCommand()),
)


def run(name: str, arguments: list[str], settings_of: SettingsOf) -> int:
    """Run the command `name`; return the exit code. SetupError for what was asked wrongly."""
    (command,) = (each for each in COMMANDS if each.name == name)
    parser = Parser(prog=f"python -m fusefs {name}", description=command.help, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--log-format", help="form of the log, as of `fusefs mount`")
    command.add(parser)
    args = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.WARNING)  # what a mount would log isn't the answer
    screen, code = Screen(args.json), 0
    try:
        with _answering(name, screen):
            code = command.run(args, settings_of, screen)
    except SetupError:
        raise
    except FsError as error:
        log.critical("%s", error)
        return FAILED
    except KeyboardInterrupt:  # whoever pressed Ctrl-C knows
        return INTERRUPTED
    return code


def show(name: str, text: str) -> int:
    """Write a text, the whole answer of the command `name`; return the exit code."""
    screen = Screen()
    with _answering(name, screen):
        for line in text.splitlines():
            screen.line(line)
    return 0


@contextmanager
def _answering(name: str, screen: Screen) -> Iterator[None]:
    """Turn what files and the output refuse into a SetupError; a reader may go away (`head`)."""
    try:
        yield
        screen.flush()
    except BrokenPipeError:
        screen.abandon()
    except OSError as error:
        screen.abandon()
        raise unusable(name, error) from error
