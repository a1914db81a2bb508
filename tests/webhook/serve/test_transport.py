"""Responses are sent in one piece."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from webhook.serve.server import ImpatientProtocol
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

    def get_extra_info(self, _name: str) -> None:
        return None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


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


def test_a_response_is_sent_before_the_next_request_is_looked_at() -> None:
    """Requests that arrive together don't all wait for the last of them."""
    inners = [Inner() for _ in range(3)]
    sent_before: list[int] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        sent_before.append(sum(bool(inner.calls) for inner in inners))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def together() -> None:
        config = uvicorn.Config(application, log_config=None, limit_concurrency=100)
        config.load()
        state = ServerState()
        for inner in inners:
            protocol = ImpatientProtocol(config, state, {})
            protocol.connection_made(inner)
            protocol.data_received(b"GET / HTTP/1.1\r\nhost: webhook\r\n\r\n")
        await asyncio.gather(*state.tasks)

    asyncio.run(together())
    assert sent_before == [0, 1, 2]
    assert all(len(inner.calls) == 1 for inner in inners)
