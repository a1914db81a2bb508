"""boto3's own attempts at a request, kept within the retry budget of their call.

boto3 gives every attempt the same time limits and makes all its attempts, however much time has
passed. Here an attempt gets the time that its call has left, and none begins when no time is left.
Not here: boto3's client (`sdk`). Any thread: the thread that makes a call makes all its attempts.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3 import Timeout

from fusefs.s3.connections import LOW_WATER
from fusefs.s3.retry import LONG, RetryBudget
from fusefs.s3.settings import StoreSettings


class _Call(threading.local):
    budget: RetryBudget | None = None
    at_once = True


class Attempts:
    """The attempts of one client; each thread has its own call."""

    def __init__(self) -> None:
        self._call = _Call()

    def bind(self, client: Any, settings: StoreSettings) -> None:
        """Limit the attempts of a boto3 client to the budget of their call."""
        session = client._endpoint.http_session  # noqa: SLF001 - its limits are fixed otherwise
        session._timeout = _Limits(self, settings)  # noqa: SLF001
        session._socket_options += LOW_WATER  # noqa: SLF001
        session._manager.connection_pool_kw |= {  # noqa: SLF001
            "timeout": session._timeout,  # noqa: SLF001
            "socket_options": session._socket_options,  # noqa: SLF001
        }

        def tried(
            response: Any,
            caught_exception: Exception | None,
            attempts: int,
            operation: Any,
            **_: Any,
        ) -> None:
            failed = caught_exception is not None or response[0].status_code >= 500
            if not failed or not self.over():
                return
            if caught_exception is not None:
                raise caught_exception
            answer = response[1]
            answer["ResponseMetadata"]["RetryAttempts"] = attempts - 1
            raise client.exceptions.ClientError(answer, operation.name)

        client.meta.events.register_first("needs-retry.s3", tried)

    @contextmanager
    def within(self, budget: RetryBudget, operation: str) -> Iterator[None]:
        """Give the attempts that this thread makes inside the budget of one call."""
        before = self._call.budget
        self._call.budget, self._call.at_once = budget, operation not in LONG
        try:
            yield
        finally:
            self._call.budget = before

    def begin(self) -> float | None:
        """Begin an attempt; return how many seconds the store may be silent, None for the usual."""
        budget = self._call.budget
        return None if budget is None else budget.begin(self._call.at_once)

    def over(self) -> bool:
        """Note that an attempt failed; return whether the call has no time for another."""
        budget = self._call.budget
        if budget is None:
            return False
        budget.ended()
        return budget.left() <= 0


class _Limits(Timeout):
    """boto3's time limits; a connection clones them for each attempt, with the time left."""

    def __init__(self, attempts: Attempts, settings: StoreSettings) -> None:
        super().__init__(connect=settings.connect_timeout, read=settings.read_timeout)
        self._attempts = attempts
        self._settings = settings

    def clone(self) -> Timeout:
        """Return the limits of the attempt that begins."""
        silence = self._attempts.begin()
        if silence is None:
            return super().clone()
        return Timeout(
            connect=min(self._settings.connect_timeout, silence),
            read=min(self._settings.read_timeout, silence),
        )
