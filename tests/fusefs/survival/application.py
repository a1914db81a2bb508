"""A process that holds files of the mount open and does with them what it is told.

Never the test itself: it starts workers, and a fork that inherits a descriptor of the mount has to
close it, which waits for the very worker that is being started.
"""

import subprocess
import sys

LOOP = """
import sys
names = {}
for line in sys.stdin:
    try:
        exec('result = ' + line, names)
        print(repr(names['result']), flush=True)
    except Exception as error:
        print('failed', repr(error), flush=True)
"""


class Application:
    """Evaluates one expression after another in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, expression: str) -> None:
        """Have an expression evaluated; don't wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Return the repr of the result of the oldest expression that wasn't asked for yet."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, expression: str) -> str:
        """Evaluate an expression and return the repr of its result, or `failed` and the error."""
        self.tell(expression)
        return self.answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
