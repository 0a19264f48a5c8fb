"""Every combination of what may be waited for when a deadline passes."""

from itertools import product

import pytest

from router.core.codes import Code
from router.core.deadlines import Waiting, code_for, too_slow
from router.head_judge import judge_answer
from router.head_values import HeadLimits
from router.http_head import client_head
from router.upgrade import agreed

LIMITS = HeadLimits(request_line=8192, line=8192, fields=1000)


@pytest.mark.parametrize("waiting", Waiting)
def test_every_wait_ends_as_heroku_says(waiting: Waiting) -> None:
    for over_all, full, behind, moved, enforce in product((False, True), repeat=5):
        code = code_for(
            waiting,
            over_all=over_all,
            held_for=Code.BOOT_TIMEOUT,
            backend_full=full,
            client_behind=behind,
            client_moved=moved,
            enforce_first_byte=enforce,
        )
        if over_all:
            assert code is Code.REQUEST_TIMEOUT
        elif waiting is Waiting.BACKEND:
            assert code is Code.BOOT_TIMEOUT
        elif waiting is Waiting.CONNECTION:
            assert code is None
        elif waiting is Waiting.ANSWER_BODY:
            assert code is (Code.IDLE_CONNECTION if not behind else None if moved else Code.CLIENT_IDLE)
        elif waiting is Waiting.REQUEST_BODY and not full:
            assert code is Code.CLIENT_IDLE
        else:
            assert code is (Code.REQUEST_TIMEOUT if enforce else None)


@pytest.mark.parametrize(
    ("received", "seconds", "slow"),
    [
        (0, 29.9, False),  # not asked for yet
        (0, 30.0, False),
        (0, 30.1, True),
        (3009, 30.1, True),
        (3010, 30.1, False),
        (360_000, 3600.0, False),
        (359_999, 3600.0, True),  # on the whole, however fast it was at first
    ],
)
def test_a_body_is_too_slow_below_its_rate_once_it_is_asked_for(received: int, seconds: float, slow: bool) -> None:
    assert too_slow(received, seconds=seconds, least=100, grace_s=30.0) is slow


@pytest.mark.parametrize("fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_the_head_to_the_client_always_says_where_the_answer_ends(fields: bytes) -> None:
    answer = judge_answer(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", via=b"x", limits=LIMITS, date=b"d")
    framed = bool(fields)
    for http10, close, bodyless in product((False, True), repeat=3):
        if bodyless and not framed:
            continue
        head, ends, chunk_it, whole = client_head(
            answer, http10=http10, close=close, framed=framed, bodyless=bodyless, extra=b"A: b\r\n"
        )
        assert head.endswith(b"\r\n\r\n")
        assert b"\r\nA: b\r\n" in head
        chunked, length = b"Transfer-Encoding: chunked" in head, b"Content-Length: 5" in head
        assert not (chunked and length)
        assert not (chunked and http10), "an HTTP/1.0 client does not know chunks"
        assert ends or chunked or length or bodyless, "a kept connection without framing"
        assert close <= ends
        assert (b"Connection: close" in head) == ends
        assert (b"Connection: keep-alive" in head) == (http10 and not ends)
        assert chunk_it == (not framed and not http10)
        assert whole == (chunked or length or bodyless)


@pytest.mark.parametrize(
    ("offered", "chosen", "expected"),
    [
        (b"websocket", b"websocket", True),
        (b"WebSocket", b"websocket", True),
        (b"a/1, b", b"b", True),
        (b"a", b"b", False),
        (b"", b"a", False),
        (b"a", b"", False),
        (b"a", b"a, b", False),
    ],
)
def test_a_101_may_only_name_what_was_offered(offered: bytes, chosen: bytes, expected: bool) -> None:  # a table
    assert agreed(offered, chosen) is expected
