"""Programs that come with the test dependencies, beside the interpreter that runs the tests."""

from __future__ import annotations

import sys
from pathlib import Path


def program(name: str) -> Path:
    """Return the path of a program of this virtual environment."""
    return Path(sys.executable).parent / name
