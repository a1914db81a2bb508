"""Log lines on stderr, made of standard `logging` records: JSON for machines, text on a terminal.

`extra={…}` of a record becomes fields. Secrets never get here: see `credentials.Keys`. Not by
structlog, which the webhook uses: loading it takes a third of the time in which a mount starts.
"""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from fusefs import termination
from fusefs.loglimit import LogLimit

FORMS = ("auto", "json", "text")
AUTO = FORMS[0]  # text where stderr is a terminal
# What every record has; the rest is `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LastWords(logging.Handler):
    """Leaves the reason of the end where `kubectl describe pod` shows it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of a critical record; the last one counts."""
        termination.write(record.getMessage())


class JsonLine(logging.Formatter):
    """Makes one line of a record, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return event, level, all of `extra`, the time in UTC, and the traceback if there is one.

        What JSON doesn't know is shown as Python shows it.
        """
        line = {"event": record.getMessage(), "level": record.levelname.lower()}
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        time = datetime.fromtimestamp(record.created, UTC)
        line["timestamp"] = f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


class TextLine(logging.Formatter):
    """Makes a line for a person: time of day, level where it matters, event, all of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows below it."""
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        told = ", ".join(
            f"{name}: {value}" for name, value in vars(record).items() if name not in _OWN
        )
        time = datetime.fromtimestamp(record.created).astimezone()
        line = f"{time:%H:%M:%S} {level}{record.getMessage()}" + (f" ({told})" if told else "")
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return line.encode("utf-8", "backslashreplace").decode() + trace


def form_of(arguments: Sequence[str]) -> str:
    """Return what a command line says of the form of its log, before the rest of it is read."""
    for at, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if name == "--log-format":
            return value or "".join(arguments[at + 1 : at + 2])
    return AUTO


def set_up(level: int = logging.INFO, form: str = AUTO) -> None:
    """Send all log records to stderr; for the process, once. `form` is one of `FORMS`."""
    handler = logging.StreamHandler(sys.stderr)
    text = form == "text" or (form != "json" and sys.stderr.isatty())
    handler.setFormatter(TextLine() if text else JsonLine())
    handler.addFilter(LogLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler, LastWords(logging.CRITICAL)]
    root.setLevel(level)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def critical(message: str) -> None:
    """Say why the process ends."""
    logging.getLogger("fusefs").critical("%s", message)
