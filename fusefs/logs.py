"""Log lines: one JSON object a line on stderr, made of standard `logging` records.

`extra={…}` of a record becomes fields. Secrets never get here: see `credentials.Keys`. Not by
structlog, which the webhook uses: loading it takes a third of the time in which a mount starts.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from fusefs import termination

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


def set_up(level: int = logging.INFO) -> None:
    """Send all log records to stderr as JSON lines; for the process, once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    root = logging.getLogger()
    root.handlers[:] = [handler, LastWords(logging.CRITICAL)]
    root.setLevel(level)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def critical(message: str) -> None:
    """Say why the process ends."""
    logging.getLogger("fusefs").critical("%s", message)
