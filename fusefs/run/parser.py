"""A command-line parser whose error is one line. Standard library only."""

import argparse
from typing import NoReturn

from fusefs.errors import SetupError


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument raises SetupError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise SetupError with argparse's message."""
        raise SetupError(f"{message}; see {self.prog} --help")
