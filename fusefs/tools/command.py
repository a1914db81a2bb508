"""The commands for people, and the options that all of them have.

Not here: `mount`, `worker` and the other commands that run mounts (`cli`). Main thread only.
"""

import argparse
import logging
from typing import Protocol

from fusefs.errors import FsError, SetupError
from fusefs.run.parser import Parser
from fusefs.tools.conflicts import ConflictCommand
from fusefs.tools.explain import ExplainCommand
from fusefs.tools.fsck import FsckCommand
from fusefs.tools.livestatus import StatusCommand
from fusefs.tools.place import SettingsOf
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
    try:
        return command.run(args, settings_of, Screen(args.json))
    except SetupError:
        raise
    except FsError as error:
        log.critical("%s", error)
        return FAILED
