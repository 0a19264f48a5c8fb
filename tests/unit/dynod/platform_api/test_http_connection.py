"""Answers read as the standard library's client reads them, however they come; what is none is refused."""

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.platform_api.http_connection import BrokenAnswerError, HttpConnection

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = (
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"content-length: 0\r\nX: \r\n\r\n",
    CHUNKED + b"5\r\nhello\r\nA;x=y\r\n, so many.\r\n0\r\nTrailer: 1\r\n\r\n",
    OK + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    OK + b"\r\nuntil it is closed",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\nContent-Length:   2  \r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
    b"HTTP/1.1 599 \r\nContent-Length: 1\r\n\r\nx",
)
BROKEN = (
    (b"", "cut short"),
    (b"HTTP/1.1 200", "cut short"),
    (OK, "cut short"),
    (OK + b"Content-Le", "cut short"),
    (OK + b"Content-Length: 5\r\n\r\nhell", "cut short"),
    (OK + b"Content-Length: -5\r\n\r\nhello", "no length"),
    (OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello", "no length"),
    (CHUNKED + b"5\r\nhel", "cut short"),
    (CHUNKED + b"5\r\nhello\r\n", "cut short"),
    (CHUNKED + b"5\r\nhelloo\r\n0\r\n\r\n", "longer than it said"),
    (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", "without its length"),
    (OK + b"no colon\r\n\r\n", "without a colon"),
    (OK + b"A: b\r\n" * 201 + b"\r\n", "more than 200 fields"),
    (OK + b"A: " + b"b" * 70_000 + b"\r\n\r\n", "without an end"),
    (b"HTTP/2 200\r\n\r\n", "no answer of HTTP"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer of HTTP"),
)


class Connection(HttpConnection):
    """To a socket that is there already."""

    def __init__(self, there: socket.socket) -> None:
        super().__init__(10.0)
        self._there = there

    def connect(self) -> None:
        self.sock = self._there


@contextmanager
def answering(*pieces: bytes) -> Iterator[tuple[Connection, socket.socket]]:
    """A connection on which these come, and its end; and the server's side, to read what was sent."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with suppress(OSError):  # who has read enough is gone
            for piece in pieces:
                theirs.sendall(piece)
            theirs.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    with closing(theirs), closing(ours), closing(Connection(ours)) as connection:
        yield connection, theirs
    sender.join()


def as_the_standard_library_reads(answer: bytes) -> tuple[int, str, bytes]:
    class Given:
        def makefile(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Given())  # type: ignore[arg-type]  # all that it asks of a socket
    response.begin()
    return response.status, response.headers["A"] or "", response.read()


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 200), max_size=5), st.integers(1, 20))
def test_an_answer_is_read_however_it_comes(answer: bytes, cuts: list[int], most: int) -> None:
    edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    with answering(*(answer[a:b] for a, b in pairwise(edges))) as (connection, _):
        connection.request("GET", "/")
        read = connection.getresponse()
        body = b"".join(iter(lambda: read.read1(most), b""))
        assert (read.status, read.headers.get("a"), body) == as_the_standard_library_reads(answer)
        assert read.read() == b"", "its end stays its end"


@pytest.mark.parametrize(("answer", "said"), BROKEN)
def test_what_is_no_whole_answer_is_a_cut_connection(answer: bytes, said: str) -> None:
    with answering(answer) as (connection, _):
        connection.request("GET", "/")
        with pytest.raises(BrokenAnswerError, match=said):
            connection.getresponse().read()


def test_several_answers_on_one_connection() -> None:
    with answering(ANSWERS[2] + ANSWERS[0]) as (connection, _):
        bodies = []
        for _number in range(2):
            connection.request("GET", "/")
            bodies.append(connection.getresponse().read())
    assert bodies == [b"hello, so many.", b"hello"]


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", None, b""),
        ("POST", None, b"Content-Length: 0\r\n"),
        ("PATCH", b"{}", b"Content-Length: 2\r\n"),
        ("PUT", io.BytesIO(b"a file"), b"Content-Length: 6\r\n"),
    ],
)
def test_what_is_sent(method: str, body: bytes | io.BytesIO | None, length: bytes) -> None:
    fields = {"A": "b"}
    content = body.getvalue() if isinstance(body, io.BytesIO) else body or b""
    if isinstance(body, io.BytesIO):
        fields["Content-Length"] = str(len(content))
    with answering() as (connection, server):
        connection.request(method, "/x?y=%20", body=body, headers=fields)
        connection.close()
        with server.makefile("rb") as sent:
            head = b"%b /x?y=%%20 HTTP/1.1\r\nHost: localhost\r\nA: b\r\n%b\r\n" % (method.encode(), length)
            assert sent.read() == head + content


@pytest.mark.parametrize(("target", "value"), [("/a b", ""), ("/\r\n", ""), ("/é", ""), ("/", "a\r\nB: c"), ("/", "€")])
def test_what_would_be_another_request_is_not_sent(target: str, value: str) -> None:
    with answering() as (connection, server):
        with pytest.raises(ValueError, match="request"):
            connection.request("GET", target, headers={"A": value})
        connection.connect()
        connection.close()
        assert server.recv(1) == b""
