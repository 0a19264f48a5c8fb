"""What drains send, over real connections to real receivers, kind and unkind."""

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import uvloop

from dynod.core.drain_policy import Outcome
from dynod.core.drain_url import parse_drain_url
from dynod.core.log_line import LogBatch
from dynod.core.syslog_frame import frame_batch, frame_id, frame_loss, http_form, syslog_form
from dynod.logs.drain_transport import Delivery, FileTransport, Frame, Transport
from dynod.logs.http_transport import HttpTransport
from dynod.logs.syslog_transport import SyslogTransport
from support.log_receivers import (
    Certificates,
    HttpReceiver,
    SyslogDaemon,
    TcpReceiver,
    certificates,
    rsyslog,
    status,
    syslog_ng,
    unframe,
)

TOKEN: Final = "d.fc6b856b-3332-4546-93de-7d0ee272c3bd"
AT: Final = 1_735_787_045.678901
SHORT_S: Final = 0.3  # instead of seconds, where a test waits for the end of a patience
D, R, F, U = Outcome.DELIVERED, Outcome.REFUSED, Outcome.FAILED, Outcome.UNREACHABLE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


def batch(*lines: bytes, ps: str = "web.1") -> LogBatch:
    return LogBatch(time=AT, source="app", ps=ps, text=b"".join(line + b"\n" for line in lines))


def http_frame(*lines: bytes) -> Frame:
    body = frame_batch(http_form(), batch(*lines))
    return Frame(body=body, messages=len(lines))


def syslog_frame(*lines: bytes) -> Frame:
    body = frame_batch(syslog_form(TOKEN), batch(*lines))
    return Frame(body=body, messages=len(lines))


def send(make: Callable[[], Transport], *frames: Frame) -> list[Delivery]:
    """Each frame once, over one transport, on the loop that the daemon runs on."""

    async def scenario() -> list[Delivery]:
        transport = make()
        try:
            async with asyncio.timeout(30):
                return [await transport.send(frame) for frame in frames]
        finally:
            await transport.close()

    return uvloop.run(scenario())


def http(
    port: int, *, scheme: str = "http", userinfo: str = "", context: ssl.SSLContext | None = None
) -> HttpTransport:
    url = parse_drain_url(f"{scheme}://{userinfo}localhost:{port}/logs?app=shop")
    make = (lambda: context) if context is not None else ssl.create_default_context
    return HttpTransport(url, token=TOKEN, make_context=make, request_s=SHORT_S)


def syslog(port: int, *, scheme: str = "syslog", context: ssl.SSLContext | None = None) -> SyslogTransport:
    url = parse_drain_url(f"{scheme}://localhost:{port}")
    make = (lambda: context) if context is not None else ssl.create_default_context
    return SyslogTransport(url, make_context=make, send_s=SHORT_S)


# --- HTTP -------------------------------------------------------------------------------------------------------------


def test_a_post_is_as_logplex_makes_it() -> None:
    with HttpReceiver() as receiver:
        frame = http_frame(*[b"x" * 20] * 10)
        assert [each.outcome for each in send(lambda: http(receiver.port, userinfo="us%40er:p%2Fss@"), frame)] == [D]
    (post,) = receiver.posts
    assert post.request_line == "POST /logs?app=shop HTTP/1.1"
    assert post.headers == {
        "Host": f"localhost:{receiver.port}",
        "Authorization": "Basic dXNAZXI6cC9zcw==",
        "Content-Type": "application/logplex-1",
        "Logplex-Msg-Count": "10",
        "Logplex-Frame-Id": frame_id(TOKEN, frame.body),
        "Logplex-Drain-Token": TOKEN,
        "User-Agent": "Logplex/dynod",
        "Content-Length": str(len(frame.body)),
    }
    assert post.body == frame.body
    assert len(post.messages) == 10


def test_one_connection_is_used_for_all() -> None:
    with HttpReceiver() as receiver:
        send(lambda: http(receiver.port), *[http_frame(b"%d" % number) for number in range(5)])
    assert [post.connection for post in receiver.posts] == [0] * 5


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (status(200), D, ""),
        (status(204), D, ""),
        (status(400), R, "answered 400"),
        (status(410), R, "answered 410"),
        (status(429, "Retry-After: 7"), F, "answered 429"),
        (status(500), F, "answered 500"),
        (status(302, "Location: http://localhost/elsewhere"), F, "answered 302"),
        (b"no http at all\r\n\r\n", F, ""),
        (None, F, "connection closed"),
    ],
)
def test_what_an_answer_means(answer: bytes | None, outcome: Outcome, error: str) -> None:
    with HttpReceiver(lambda _number, _post: answer) as receiver:
        (delivery,) = send(lambda: http(receiver.port), http_frame(b"hello"))
    assert delivery.outcome is outcome
    assert error in delivery.error
    assert delivery.asked_s == (7.0 if "429" in error else 0.0)
    assert len(receiver.posts) == 1, "nothing is followed, nothing is repeated in here"


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    leave = threading.Event()

    def slow(_number: int, _post: object) -> None:
        leave.wait(20)

    with HttpReceiver(slow) as receiver:
        (delivery,) = send(lambda: http(receiver.port), http_frame(b"hello"))
        leave.set()
    assert delivery.outcome is F
    assert "no answer" in delivery.error


def test_a_connection_that_was_closed_while_idle_is_made_anew_without_a_failure() -> None:
    def once(_number: int, _post: object) -> bytes:
        return status(200)

    async def scenario() -> list[Outcome]:
        with HttpReceiver(once) as receiver:
            transport = http(receiver.port)
            first = await transport.send(http_frame(b"one"))
            for connection in receiver.connections:
                connection.shutdown(socket.SHUT_RDWR)
            second = await transport.send(http_frame(b"two"))
            await transport.close()
            assert [message.rpartition(b" ")[2] for message in receiver.messages] == [b"one\n", b"two\n"]
            return [first.outcome, second.outcome]

    assert uvloop.run(scenario()) == [D, D]


def test_https_is_trusted_by_its_authority_alone(authority: Certificates) -> None:
    with HttpReceiver(context=authority.server()) as receiver:
        trusted = send(lambda: http(receiver.port, scheme="https", context=authority.trusting()), http_frame(b"one"))
        distrusted = send(lambda: http(receiver.port, scheme="https"), http_frame(b"two"))
    assert [each.outcome for each in trusted] == [D]
    assert [(each.outcome, each.distrusted) for each in distrusted] == [(U, True)]
    assert "certificate" in distrusted[0].error
    assert len(receiver.posts) == 1


def test_a_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    other = certificates(tmp_path, name="elsewhere.example")
    with HttpReceiver(context=other.server()) as receiver:
        (delivery,) = send(lambda: http(receiver.port, scheme="https", context=other.trusting()), http_frame(b"one"))
    assert (delivery.outcome, delivery.distrusted) == (U, True)


# --- syslog -----------------------------------------------------------------------------------------------------------


def test_a_tcp_receiver_gets_every_frame_in_order() -> None:
    frames = [syslog_frame(*[b"%d.%d" % (number, line) for line in range(100)]) for number in range(20)]
    with TcpReceiver() as receiver:
        assert {each.outcome for each in send(lambda: syslog(receiver.port), *frames)} == {D}
        receiver.wait_for(lambda: len(receiver.data) == sum(len(frame.body) for frame in frames))
        assert receiver.data == b"".join(frame.body for frame in frames)
        assert len(receiver.connections) == 1


def test_tls_is_trusted_by_its_authority_alone(authority: Certificates) -> None:
    frame = syslog_frame(b"hello")
    with TcpReceiver(context=authority.server()) as receiver:
        distrusted = send(lambda: syslog(receiver.port, scheme="syslog+tls"), frame)
        trusted = send(lambda: syslog(receiver.port, scheme="syslog+tls", context=authority.trusting()), frame)
        receiver.wait_for(lambda: receiver.data)
    assert [each.outcome for each in trusted] == [D]
    assert [(each.outcome, each.distrusted) for each in distrusted] == [(U, True)]
    assert receiver.data == frame.body


def test_a_receiver_that_reads_nothing_is_given_up() -> None:
    with TcpReceiver(reads=False) as receiver:
        big = syslog_frame(*[b"x" * 9000] * 1000)  # more than all buffers on the way
        (delivery,) = send(lambda: syslog(receiver.port), big)
    assert (delivery.outcome, delivery.error) == (F, "no answer in time")


def test_what_was_reset_is_not_delivered_and_the_next_frame_goes_over_a_new_connection() -> None:
    async def scenario() -> list[Outcome]:
        with TcpReceiver(reads=False) as receiver:
            transport = syslog(receiver.port)
            sending = asyncio.ensure_future(transport.send(syslog_frame(*[b"x" * 9000] * 1000)))
            await asyncio.to_thread(receiver.wait_for, lambda: receiver.connections)
            receiver.reset()
            first = await sending
        with TcpReceiver(port=receiver.port) as receiver:
            second = await transport.send(syslog_frame(b"hello"))
            await transport.close()
            receiver.wait_for(lambda: receiver.data)
        return [first.outcome, second.outcome]

    assert uvloop.run(scenario()) == [F, D]


def test_a_receiver_that_went_away_between_two_frames_is_noticed() -> None:
    async def scenario() -> None:
        transport = None
        with TcpReceiver() as receiver:
            transport = syslog(receiver.port)
            assert (await transport.send(syslog_frame(b"one"))).outcome is D
            receiver.wait_for(lambda: receiver.data)
        with TcpReceiver(port=receiver.port) as again:
            assert (await transport.send(syslog_frame(b"two"))).outcome is D
            await transport.close()
            again.wait_for(lambda: again.data)
            assert unframe(again.data)[0].endswith(b"two\n")

    uvloop.run(scenario())


@pytest.mark.parametrize("make", [http, syslog])
def test_nobody_there(make: Callable[[int], Transport]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (delivery,) = send(lambda: make(port), syslog_frame(b"hello"))
    assert (delivery.outcome, delivery.error) == (U, "connection refused")


def test_no_such_host_is_said_and_no_url_is_quoted() -> None:
    url = parse_drain_url("https://user:secret@nowhere.invalid/x?key=secret")
    transport = HttpTransport(url, token=TOKEN)
    (delivery,) = send(lambda: transport, http_frame(b"hello"))
    assert delivery.outcome is U
    assert delivery.error
    assert "secret" not in delivery.error


# --- Debian's daemons -------------------------------------------------------------------------------------------------

ODD_LINES: Final = ("hello", "naïve ☃", "", "a [b] <c> | d", "x" * 8000, "ends in spaces  ")


def receive(daemon: SyslogDaemon, make: Callable[[], Transport]) -> list[str]:
    lines = [line.encode() for line in ODD_LINES]
    body = (
        frame_batch(syslog_form(TOKEN), batch(*lines))
        + frame_batch(syslog_form(TOKEN), LogBatch(time=AT, source="heroku", ps="router", text=b"at=info\n"))
        + frame_loss(syslog_form(TOKEN), lines=5, since=AT, at=AT)
    )
    assert [each.outcome for each in send(make, Frame(body=body, messages=8))] == [D]
    return daemon.lines(8)


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("daemon", [rsyslog, syslog_ng])
def test_debians_daemons_understand_every_frame(
    tmp_path: Path, authority: Certificates, daemon: Callable[..., "object"], is_tls: bool
) -> None:
    run = rsyslog if daemon is rsyslog else syslog_ng
    with run(tmp_path / "syslog", authority if is_tls else None) as running:
        scheme, context = ("syslog+tls", authority.trusting()) if is_tls else ("syslog", None)
        received = receive(running, lambda: syslog(running.port, scheme=scheme, context=context))
    fields = [line.split("|", 5) for line in received]
    assert [field[:4] for field in fields] == [
        *[["190", TOKEN, "app", "web.1"]] * len(ODD_LINES),
        ["158", TOKEN, "heroku", "router"],
        ["172", TOKEN, "heroku", "logplex"],
    ]
    # rsyslog keeps the blank before the message (RFC 5424 has it belong to the frame), syslog-ng does not.
    messages = [field[5].strip() for field in fields]
    assert messages[: len(ODD_LINES)] == [line.strip() for line in ODD_LINES]
    assert messages[-1].startswith("Error L10 (output buffer overflow): 5 messages dropped since ")


# --- this machine -----------------------------------------------------------------------------------------------------


def test_a_file_is_appended_to_and_made_anew_when_it_was_rotated(tmp_path: Path) -> None:
    path = tmp_path / "app.log"

    async def scenario() -> None:
        transport = FileTransport(str(path))
        await transport.send(Frame(body=b"one\n", messages=1))
        path.rename(tmp_path / "app.log.1")
        await transport.send(Frame(body=b"two\n", messages=1))
        await transport.send(Frame(body=b"three\n", messages=1))
        await transport.close()

    uvloop.run(scenario())
    assert (tmp_path / "app.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["missing/app.log", "link", "folder", "pipe"])
def test_what_is_no_file_is_a_failure_that_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (delivery,) = send(lambda: FileTransport(str(tmp_path / name)), Frame(body=b"x\n", messages=1))
    assert delivery.outcome is F
    assert name in delivery.error
