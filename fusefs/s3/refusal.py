"""The outcomes of one failed attempt, the same for `fastpath` and for boto3. Values only."""

from collections.abc import Mapping
from enum import Enum


class Refusal(Exception):
    """The store answered with an error; `attempts` says how often boto3 had asked before."""

    def __init__(
        self,
        operation: str,
        status: int,
        code: str,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(f"{operation}: {status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.attempts = attempts


class Why(Enum):
    """Why there was no answer."""

    NOT_SENT = "boto3 refuses to send it"
    NO_CREDENTIALS = "there is nothing to sign with"
    AWAY = "the store can't be reached, or the connection broke"
    UNTRUSTED = "its certificate isn't trusted"


class NoAnswer(Exception):
    """No answer came."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why
