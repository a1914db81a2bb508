"""Log lines: one JSON object a line on stderr, made of standard `logging` records by structlog.

`extra={…}` of a record becomes fields. Secrets never get here: see `credentials.Keys`.
"""

import logging
import sys

import structlog


def set_up(level: int = logging.INFO) -> None:
    """Send all log records to stderr as JSON lines; for the process, once."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def critical(message: str) -> None:
    """Say why the process ends."""
    logging.getLogger("fusefs").critical("%s", message)
