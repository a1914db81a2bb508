"""Log lines on stderr, made of standard `logging` records: JSON for machines, text on a terminal.

The `extra={…}` of a record becomes fields. Secrets never reach a record: see `credentials.Keys`.
structlog, which the webhook uses, isn't used here: importing it takes a third of the time that a
mount takes to start. `set_up` is called once, by the main thread; any thread may log.
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
# Attributes of every record; all others are from `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LastWords(logging.Handler):
    """Writes the reason why the process ends to where `kubectl describe pod` shows it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of a critical record; the last one counts."""
        termination.write(record.getMessage())


class JsonLine(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return event, level, all of `extra`, the time in UTC, and the traceback if there is one.

        A value that JSON can't hold is written as its `repr`.
        """
        line = {"event": record.getMessage(), "level": record.levelname.lower()}
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        time = datetime.fromtimestamp(record.created, UTC)
        line["timestamp"] = f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


class TextLine(logging.Formatter):
    """Formats a record for a person: time of day, level unless info, event, all of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows below it."""
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        fields = ", ".join(
            f"{name}: {value}" for name, value in vars(record).items() if name not in _OWN
        )
        time = datetime.fromtimestamp(record.created).astimezone()
        line = f"{time:%H:%M:%S} {level}{record.getMessage()}" + (f" ({fields})" if fields else "")
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return line.encode("utf-8", "backslashreplace").decode() + trace


def form_of(arguments: Sequence[str]) -> str:
    """Return the --log-format of a command line, before its other options are parsed."""
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
    """Log why the process ends; `LastWords` also leaves it in the pod's status."""
    logging.getLogger("fusefs").critical("%s", message)
