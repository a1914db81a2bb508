"""The keeper's end of the connection to its holder."""

import socket

import pytest

from fusefs.keeper.holder import Holding


@pytest.fixture
def ends() -> tuple[socket.socket, Holding]:
    """The holder's end, and the keeper's."""
    holder, keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return holder, Holding(keeper.detach())


def test_a_holder_that_is_gone_is_not_one_that_does_not_answer(
    ends: tuple[socket.socket, Holding], capsys: pytest.CaptureFixture[str]
) -> None:
    """A heartbeat that meets its end says nothing: the keeper finds it gone, and says so."""
    holder, holding = ends
    holder.close()
    holding.alive()
    assert capsys.readouterr().err == ""


def test_a_holder_that_does_not_answer_is_said_once(
    ends: tuple[socket.socket, Holding],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it takes something again."""
    holder, holding = ends
    monkeypatch.setattr(holding, "_pair", _Deaf())
    for _ in range(3):
        holding.alive()
    assert capsys.readouterr().err.count("the holder doesn't answer") == 1
    holder.close()


class _Deaf:
    """A socket whose other end takes nothing."""

    def __getattr__(self, name: str) -> object:
        raise TimeoutError("timed out")
