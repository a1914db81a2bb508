"""Answers as they come from a connection, in whatever pieces."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from fusefs.s3.connections import FIRST_RECEIVED, RECEIVED, PlainLine
from fusefs.s3.httpanswer import HEAD_MOST, Answer, BrokenAnswer
from fusefs.s3.httpdate import moment
from fusefs.s3.partbody import PartBody

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "e"\r\n\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"


class Pieces:
    """A connection on which these pieces come, one at a time."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.calls = 0
        self.closed = False

    def receive(self, most: int) -> bytes:
        self.calls += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if len(piece) > most:
            self.pieces.insert(0, piece[most:])
        return piece[:most]

    def receive_into(self, view: memoryview) -> int:
        data = self.receive(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.closed = True


class Kept:
    """Counts how often a connection went back."""

    times = 0

    def keep(self) -> None:
        self.times += 1


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_small_answer_costs_one_receive(kept: Kept) -> None:
    """Head and body come at once; the connection goes back."""
    line = Pieces(HEAD + b"hello")
    answer = Answer(line, "GET", kept.keep)
    assert answer.headers == {"content-length": "5", "etag": '"e"'}
    assert answer.read() == b"hello"
    assert (line.calls, kept.times, line.closed) == (1, 1, False)


def bytewise(data: bytes) -> list[bytes]:
    """Cut bytes apart."""
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("data", [HEAD + b"abcde", CHUNKED + CHUNKS])
@pytest.mark.parametrize("cut", [bytewise, lambda data: [data]])
def test_a_body_by_length_or_in_chunks_in_any_pieces(kept: Kept, data: bytes, cut: object) -> None:
    """What a network makes of an answer doesn't matter."""
    assert callable(cut)
    line = Pieces(*cut(data))
    assert Answer(line, "GET", kept.keep).read() == b"abcde"
    assert kept.times == 1


def test_a_body_without_length_ends_with_the_connection(kept: Kept) -> None:
    """It can't be used again."""
    line = Pieces(b"HTTP/1.1 200 OK\r\n\r\nab", b"cde")
    assert Answer(line, "GET", kept.keep).read() == b"abcde"
    assert not kept.times
    assert line.closed


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("DELETE", 204)])
def test_some_answers_have_no_body(kept: Kept, method: str, status: int) -> None:
    """Whatever length they tell: a HEAD's is the object's."""
    line = Pieces(b"HTTP/1.1 %d x\r\nContent-Length: 7\r\n\r\n" % status)
    assert Answer(line, method, kept.keep).read() == b""
    assert kept.times == 1


def test_that_an_answer_will_come_is_none(kept: Kept) -> None:
    """100 Continue and its like come before the answer."""
    line = Pieces(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n", HEAD + b"hello"
    )
    assert Answer(line, "GET", kept.keep).status == 200


@pytest.mark.parametrize("how", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"])
def test_a_connection_that_the_store_ends_is_not_kept(kept: Kept, how: bytes) -> None:
    """It says so, or speaks an older HTTP."""
    line = Pieces(how + b"\r\nContent-Length: 1\r\n\r\nx")
    assert Answer(line, "GET", kept.keep).read() == b"x"
    assert line.closed
    assert not kept.times


def test_a_connection_with_more_than_an_answer_is_not_kept(kept: Kept) -> None:
    """The next request would take the rest for its answer."""
    line = Pieces(HEAD + b"hello, world")
    assert Answer(line, "GET", kept.keep).read() == b"hello"
    assert line.closed


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * HEAD_MOST,
    ],
)
def test_what_is_no_answer_is_an_error(kept: Kept, said: bytes) -> None:
    """boto3 is asked then."""
    with pytest.raises(BrokenAnswer):
        Answer(Pieces(said), "GET", kept.keep)


@pytest.mark.parametrize(
    "said", [HEAD + b"hell", CHUNKED + b"3\r\nab", CHUNKED + b"3\r\nabcd\r\n", CHUNKED + b"-1\r\n"]
)
def test_a_body_that_ends_early_is_an_error(kept: Kept, said: bytes) -> None:
    """And its connection is closed."""
    line = Pieces(said)
    with pytest.raises((BrokenAnswer, ValueError)):
        Answer(line, "GET", kept.keep).read()
    assert line.closed


@pytest.fixture
def pair() -> Iterator[tuple[PlainLine, socket.socket]]:
    """A plain connection and its other end."""
    ours, theirs = socket.socketpair()
    with theirs:
        line = PlainLine(ours)
        line.limit(0.05)
        yield line, theirs
        line.close()


def test_silence_beyond_the_limit_is_an_error(pair: tuple[PlainLine, socket.socket]) -> None:
    """Both ways: nothing comes, or nothing goes."""
    line, _ = pair
    with pytest.raises(TimeoutError):
        line.receive(10)
    with pytest.raises(TimeoutError):
        line.send(b"", bytes(RECEIVED * 16))


def test_what_came_before_the_silence_is_told(pair: tuple[PlainLine, socket.socket]) -> None:
    """A slow line isn't a silent one: the limit begins again with each byte that is taken."""
    line, theirs = pair
    theirs.send(b"some")
    buffer = memoryview(bytearray(10))
    assert line.receive_into(buffer) == 4
    theirs.close()
    assert line.receive_into(buffer) == 0


@pytest.mark.parametrize("year", [1970, 1994, 2024, 2099])
def test_times_are_read_as_the_standard_library_reads_them(year: int) -> None:
    """All months, in the form that stores write and in others."""
    for month in range(1, 13):
        then = datetime(year, month, 6, 8, 49, 37, tzinfo=UTC)
        assert moment(format_datetime(then, usegmt=True)) == then
    assert moment("6 Nov 1994 08:49:37 +0100").timestamp() == 784108177


@pytest.mark.parametrize("text", ["", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    """Who asks decides what that means."""
    with pytest.raises(ValueError, match=r".*"):
        moment(text)


def test_a_range_of_a_file_is_sent_without_being_read(
    pair: tuple[PlainLine, socket.socket], tmp_path: Path
) -> None:
    """From the page cache to the connection; a file that is too short is an error."""
    line, theirs = pair
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def fill(offset: int, view: memoryview) -> None:
        raise AssertionError(f"{len(view)} bytes at {offset} are read")

    with path.open("rb") as file:
        line.send(b"head:", PartBody(fill, 2, 6, file.fileno()))
        assert theirs.recv(100) == b"head:2345"
        with pytest.raises(OSError, match="a file of 10 bytes where 20 are to be sent"):
            line.send(b"", PartBody(fill, 5, 20, file.fileno()))


def test_the_first_bytes_are_told_before_the_rest_has_come(
    pair: tuple[PlainLine, socket.socket],
) -> None:
    """Somebody may wait for them; what follows comes in large pieces."""
    line, theirs = pair
    buffer = memoryview(bytearray(FIRST_RECEIVED + RECEIVED))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(theirs.sendall, bytes(len(buffer)))
        line.limit(5)
        line.send(b"", b"")
        assert line.receive_into(buffer) == FIRST_RECEIVED
        assert line.receive_into(buffer) == RECEIVED
        sent.result()
