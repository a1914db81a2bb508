"""A command-line parser that says what is wrong in one line. Standard library only."""

import argparse
from typing import NoReturn

from fusefs.errors import SetupError


class Parser(argparse.ArgumentParser):
    """argparse, but wrong words are a SetupError in place of the usage and an exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong."""
        raise SetupError(f"{message}; see {self.prog} --help")
