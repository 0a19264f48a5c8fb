"""A link by itself, on a transport that only counts: what it remembers of heads, and what it keeps."""

import asyncio

from router.backend_link import BackendLink, IdleLinks
from router.core.backend import Backend, PooledBackend
from router.errors import HeadError
from router.head_values import HeadLimits, ResponseHead


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = ""

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = self.closed or "aborted"


class Taker:
    """Notes what it is told."""

    def __init__(self, method: bytes = b"GET", *, takes_whole: bool = False) -> None:
        self.method = method
        self.takes_whole = takes_whole
        self.http10 = False
        self.heads: list[bytes] = []
        self.body = b""
        self.ended: list[bool] = []
        self.refused: list[str] = []

    def interim(self, answer: ResponseHead) -> None:
        self.heads.append(answer.before_framing)

    def switch(self, link: BackendLink, answer: ResponseHead, data: bytes) -> None:
        raise AssertionError((link, answer, data))

    def answer_whole(self, link: BackendLink, status: int, out: bytes, *, clean: bool) -> bool:
        if not self.takes_whole:
            return False
        link.taker = None
        assert status == 200
        head, end, body = out.partition(b"\r\n\r\n")
        self.heads.append(head + end)
        self.body += body
        self.ended.append(clean)
        return True

    def answer_starts(self, answer: ResponseHead, data: bytes, *, bodyless: bool, framed: bool, last: bool) -> None:
        assert last in (True, False)
        assert not (bodyless and data)
        assert framed
        self.heads.append(answer.ready)
        self.body += data

    def answer_data(self, data: bytes) -> None:
        self.body += data

    def answer_ends(self, link: BackendLink, *, clean: bool) -> None:
        assert link.taker is None
        self.ended.append(clean)

    def answer_refused(self, link: BackendLink, error: HeadError) -> None:
        assert link.taker is None
        self.refused.append(error.cause)

    def link_lost(self, link: BackendLink, error: Exception | None, *, partial: bool) -> None:
        raise AssertionError((link, error, partial))

    def link_full(self) -> None:
        raise AssertionError

    def link_ready(self) -> None:
        raise AssertionError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def link_and_idle(dates: list[bytes], clock: Clock) -> tuple[BackendLink, IdleLinks]:
    idle = IdleLinks(reuse_s=1.5, reuse_unsafe_s=0.5, most=2, clock=clock)
    entry = PooledBackend(Backend(id="b", label="web.1", host="::1", port=1), now=0.0)
    limits = HeadLimits(request_line=8192, line=8192, fields=1000)
    link = BackendLink(entry, idle, limits=limits, via=b"x", date=lambda: dates[0])
    link.connection_made(Transport())
    return link, idle


def asked(link: BackendLink, answer: bytes) -> Taker:
    taker = Taker()
    link.taker = taker
    link.data_received(answer)
    return taker


def test_an_undated_head_that_comes_again_gets_the_date_of_the_day() -> None:
    dates = [b"Monday"]
    link, _ = link_and_idle(dates, Clock())
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for day in (b"Monday", b"Monday", b"Tuesday", b"Tuesday"):
        dates[0] = day if day != dates[0] else dates[0]
        taker = asked(link, answer)
        assert b"\r\nDate: " + day + b"\r\n" in taker.heads[0]
        assert (taker.body, taker.ended) == (b"ok", [True])


def test_a_head_that_begins_like_the_last_one_is_read_anew() -> None:
    link, _ = link_and_idle([b"d"], Clock())
    first = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\n"
    assert asked(link, first + b"ok").body == b"ok"
    assert asked(link, first.replace(b"2", b"3", 2).replace(b"300", b"200") + b"now").body == b"now"
    assert asked(link, first + b"ok").ended == [True]


def test_an_answer_that_says_close_or_too_much_makes_its_link_unclean() -> None:
    link, _ = link_and_idle([b"d"], Clock())
    assert asked(link, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").ended == [False]
    assert asked(link, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay").ended == [False]
    assert asked(link, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").ended == [False]
    assert asked(link, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok").ended == [True]


def test_interim_answers_have_an_end() -> None:
    link, _ = link_and_idle([b"d"], Clock())
    taker = asked(link, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 65)
    assert taker.refused == ["too many interim answers"]


def test_how_old_an_idle_link_may_be() -> None:
    clock = Clock()
    link, idle = link_and_idle([b"d"], clock)
    for repeatable, limit in ((True, 1.5), (False, 0.5)):
        idle.put(link, clock.now)
        assert idle.take("b", clock.now + limit, repeatable=repeatable) is None
        if repeatable:
            assert idle.take("b", clock.now + limit - 0.01, repeatable=True) is link
    link.idle_limit_s = 1.0  # what the dyno says of itself, halved
    assert idle.take("b", clock.now + 0.5, repeatable=True) is None
    assert idle.take("b", clock.now + 0.49, repeatable=True) is link


def test_links_beyond_the_limit_and_beyond_their_age_are_closed() -> None:
    clock = Clock()
    links = [link_and_idle([b"d"], clock)[0] for _ in range(3)]
    idle = links[0].idle_set
    assert [idle.put(link, clock.now) for link in links] == [True, True, False]
    assert [link.transport.closed for link in links] == ["", "", "closed"]  # type: ignore[attr-defined]  # the fake's
    idle.sweep(clock.now + 1.6)
    assert len(idle) == 0
    assert [link.transport.closed for link in links] == ["closed"] * 3  # type: ignore[attr-defined]  # the fake's
