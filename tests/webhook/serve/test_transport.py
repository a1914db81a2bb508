"""Responses are sent in one piece."""

import asyncio
from typing import Any

from webhook.serve.transport import OneWrite


class Inner:
    """A transport that notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.calls


async def written(*ends: str) -> list[Any]:
    """Write a head and a body, do what `ends` names, and let the event loop turn."""
    inner = Inner()
    transport = OneWrite(inner, asyncio.get_running_loop())
    for data in (b"head", b"", b"body"):
        transport.write(data)
    for end in ends:
        getattr(transport, end)()
    await asyncio.sleep(0)
    assert transport.is_closing() == ("close" in ends)
    return inner.calls


def test_head_and_body_are_one_write() -> None:
    """One TLS record, one system call."""
    assert asyncio.run(written()) == [b"headbody"]


def test_what_was_written_is_sent_before_the_end() -> None:
    """A response with `connection: close` is complete."""
    assert asyncio.run(written("close")) == [b"headbody", "close"]


def test_an_abort_sends_nothing_more() -> None:
    """The client is gone, or hostile."""
    assert asyncio.run(written("abort")) == ["abort"]


def test_later_writes_are_sent_later() -> None:
    """Each turn of the loop has its own."""

    async def two_turns() -> list[Any]:
        inner = Inner()
        transport = OneWrite(inner, asyncio.get_running_loop())
        for data in (b"one", b"two"):
            transport.write(data)
            await asyncio.sleep(0)
        return inner.calls

    assert asyncio.run(two_turns()) == [b"one", b"two"]
