"""Log lines: one JSON object each on stdout, for the webhook and for the libraries below it.

structlog is set up and used here only; other modules take a `Logger`. Safe to share between
threads.
"""

import logging
import sys
from typing import Any, Protocol, TextIO

import structlog

from webhook.serve.loglimit import LineLimit


class Logger(Protocol):
    """The package's interface of a logger: an event and its fields."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
    def exception(self, event: str, **fields: Any) -> None: ...


def make_logger(level: str = "INFO", stream: TextIO | None = None) -> Logger:
    """Return a logger of JSON lines; levels as in the standard library, stdout by default."""
    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        processors=[
            structlog.processors.add_log_level,
            _limited(LineLimit()),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    )
    return logger


def _limited(limit: LineLimit) -> structlog.typing.Processor:
    def process(_logger: Any, _method: str, fields: Any) -> Any:
        if not limit.admit(fields):
            raise structlog.DropEvent
        return fields

    return process


class _Forward(logging.Handler):
    """Forwards a library's log records to our logger."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        report = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        report(record.getMessage(), logger=record.name, **fields)


def forward_libraries(logger: Logger) -> None:
    """Log warnings and errors of uvicorn and other libraries as JSON lines, too."""
    logging.basicConfig(handlers=[_Forward(logger)], level=logging.WARNING, force=True)
