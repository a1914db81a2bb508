"""Programs that are killed while they use a cache."""

import subprocess
import sys
from pathlib import Path


def killed(script: str, root: Path, seconds: float) -> None:
    """Run a script with `root` as argument; kill it so long after its first line."""
    command = [sys.executable, "-c", script, str(root)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with child:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
