"""One connection to a backend, and the idle ones of an app. On the hot path.

Flow: a client connection is given a link, writes its request to it, and gets the answer back in pieces that are ready
to be sent: head understood, body framing checked, end known. A link carries one request at a time. It goes back to the
idle ones only after an answer that ended exactly where its framing says, to a request that was sent whole; a byte more
and it is closed. A byte or an end that arrives while it is idle closes it too, so nothing can reach the next client.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, Protocol

from router.core.backend import PooledBackend
from router.core.chunked import ChunkReader
from router.errors import ChunkError, HeadError
from router.head_grammar import allowed_trailers
from router.head_values import FINAL, NO_CONTENT, NOT_MODIFIED, SWITCHING_PROTOCOLS, HeadLimits, ResponseHead
from router.http_head import AnswerReader, answer_of, idle_limit, judge_answer
from router.plain_head import PlainAnswer
from router.tcp import quiet, read_now, silent_s

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_MOST_INTERIM: Final = 64  # 1xx answers to one request; a backend that sends more never ends
_UNTIL_CLOSE: Final = -1
_NO_BODY_STATUS: Final = frozenset({NO_CONTENT, NOT_MODIFIED})  # RFC 9110 section 6.4.1
_SALVAGE: Final = 1 << 20


class AnswerTaker(Protocol):
    """What a link tells the client connection that it works for."""

    method: bytes
    http10: bool

    def interim(self, answer: ResponseHead) -> None:
        """A 1xx other than 101."""

    def switch(self, link: "BackendLink", answer: ResponseHead, data: bytes) -> None:
        """A 101, and what came after it."""

    def answer_whole(self, link: "BackendLink", status: int, out: bytes, *, clean: bool) -> bool:
        """A usual answer, all of it, head and body as they go to the client.

        True: taken, and the link is free again, `clean` as in `answer_ends`. False: it is to come by `answer_starts`.
        """

    def answer_starts(self, answer: ResponseHead, data: bytes, *, bodyless: bool, framed: bool, last: bool) -> None:
        """The final head and the body's first bytes.

        `framed`: the body's end is known from its framing. `last`: it is here, `answer_ends` comes next.
        """

    def answer_data(self, data: bytes) -> None:
        """More of the body, already framed as `answer_starts` announced."""

    def answer_ends(self, link: "BackendLink", *, clean: bool) -> None:
        """The answer is whole. `clean`: nothing stands against using the link again."""

    def answer_refused(self, link: "BackendLink", error: HeadError) -> None:
        """The answer is not one that may be passed on. The link is of no more use."""

    def link_lost(self, link: "BackendLink", error: Exception | None, *, partial: bool) -> None:
        """The connection ended before the answer did. `partial`: some bytes of an answer had come."""

    def link_full(self) -> None:
        """The backend is slow to read: send no more."""

    def link_ready(self) -> None:
        """It reads again."""


class BackendLink(asyncio.Protocol):
    """See the module. `taker`, once set, starts an exchange; the link ends it by one of the taker's calls, once."""

    __slots__ = (
        "_answer",
        "_buffer",
        "_chunks",
        "_date",
        "_interim",
        "_left",
        "_limits",
        "_reader",
        "_started",
        "_via",
        "entry",
        "full",
        "idle_limit_s",
        "idle_set",
        "idle_since",
        "lost",
        "reused",
        "taker",
        "transport",
    )

    def __init__(
        self,
        entry: PooledBackend,
        idle_set: "IdleLinks",
        *,
        limits: HeadLimits,
        via: bytes,
        date: "Date",
    ) -> None:
        self.entry = entry
        self.idle_set = idle_set
        self.transport: asyncio.Transport
        self.taker: AnswerTaker | None = None
        self.reused = False
        self.full = False
        self.lost = False
        self.idle_since = 0.0
        self.idle_limit_s: float | None = None
        self._limits = limits
        self._reader = AnswerReader(via, limits, date)
        self._via = via
        self._date = date
        self._buffer = b""
        self._answer: ResponseHead | None = None
        self._started = False
        self._left = 0
        self._interim = 0
        self._chunks: ChunkReader | None = None

    def abandon(self) -> None:
        """Nobody wants the answer any more: cut the connection, so that the backend notices."""
        self.taker = None
        if not self.lost:
            self.transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream protocol is given a stream transport

    def data_received(self, data: bytes) -> None:
        taker = self.taker
        if taker is None:
            # Bytes that nobody asked for: they may not reach whoever comes next.
            self.idle_set.forget(self)
            self.transport.abort()
            return
        if self._answer is not None:
            self._body(taker, self._answer, data)
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        plain = self._reader.read(data)
        if plain is not None:
            status, out, _, _, _, _, persistent, _, keep_alive, _, whole = plain
            if whole:
                if keep_alive is not None:
                    self.idle_limit_s = idle_limit(keep_alive)
                # Nearly every answer comes in one piece: one call instead of three, 1.3 µs less.
                if taker.answer_whole(self, status, out, clean=persistent):
                    return
        self._started = True
        self._head(taker, data, plain)

    def eof_received(self) -> bool:
        return False  # a backend that has said its last word is closed; connection_lost tells what that meant

    def connection_lost(self, exc: Exception | None) -> None:
        taker = self.taker
        if taker is not None and exc is not None:
            # A backend that answers early and closes resets us while we still send: its answer is in the socket's
            # buffer, where the failed write would leave it unread (seen with gunicorn refusing a large upload).
            self._salvage()
            taker = self.taker
        self.lost = True
        if taker is None:
            self.idle_set.ended(self)
            return
        self.taker = None
        if exc is None and self._answer is not None and self._chunks is None and self._left == _UNTIL_CLOSE:
            taker.answer_ends(self, clean=False)
        else:
            taker.link_lost(self, exc, partial=self._started)

    def pause_writing(self) -> None:
        self.full = True
        if self.taker is not None:
            self.taker.link_full()

    def resume_writing(self) -> None:
        self.full = False
        if self.taker is not None:
            self.taker.link_ready()

    # -- the answer ------------------------------------------------------------------------------------------------

    def _head(self, taker: AnswerTaker, data: bytes, plain: PlainAnswer | None) -> None:
        while True:
            if plain is not None:
                end = plain[9]
                answer = answer_of(plain)
            else:
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    self._partial_head(taker, data)
                    return
                end += 4
                try:
                    if end > self._limits.head:
                        raise HeadError("oversized header", 502)  # noqa: TRY301  # one place for both refusals
                    answer = judge_answer(data[:end], via=self._via, limits=self._limits, date=self._date())
                except HeadError as error:
                    self.taker = None
                    taker.answer_refused(self, error)
                    return
            data = data[end:]
            if answer.status >= FINAL:
                break
            if answer.status == SWITCHING_PROTOCOLS:
                self.taker = None
                taker.switch(self, answer, data)
                return
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                self.taker = None
                taker.answer_refused(self, HeadError("too many interim answers", 503))
                return
            taker.interim(answer)
            if not data:
                return
            plain = self._reader.read(data)
        self._final(taker, answer, data)

    def _partial_head(self, taker: AnswerTaker, data: bytes) -> None:
        self._buffer = data
        start = data[:9]
        if len(data) > self._limits.head:
            error = HeadError("oversized header", 502)
        elif not (b"HTTP/1.1 ".startswith(start) or b"HTTP/1.0 ".startswith(start)):
            error = HeadError("bad status line", 503)
        elif _BARE_LF.search(data) is not None:
            error = HeadError("bad header", 503)
        else:
            return
        self.taker = None
        taker.answer_refused(self, error)

    def _final(self, taker: AnswerTaker, answer: ResponseHead, data: bytes) -> None:
        self._answer = answer
        self._chunks = None
        if answer.idle_limit_s is not None:
            self.idle_limit_s = answer.idle_limit_s
        if taker.method == b"HEAD" or answer.status in _NO_BODY_STATUS or answer.length == 0:
            taker.answer_starts(answer, b"", bodyless=True, framed=True, last=True)
            if self.taker is taker:
                self._end(taker, clean=answer.persistent and not data)
            return
        if answer.chunked:
            self._chunks = ChunkReader()
            out, done, surplus = self._unchunk(taker, self._chunks, data)
            if self.taker is not taker:
                return
            taker.answer_starts(answer, out, bodyless=False, framed=True, last=done)
            if done and self.taker is taker:
                self._end(taker, clean=answer.persistent and not surplus)
            return
        length = answer.length
        if length < 0:
            self._left = _UNTIL_CLOSE
            taker.answer_starts(answer, data, bodyless=False, framed=False, last=False)
            return
        got = len(data)
        if got < length:
            self._left = length - got
            taker.answer_starts(answer, data, bodyless=False, framed=True, last=False)
            return
        if got > length:
            data = data[:length]
        taker.answer_starts(answer, data, bodyless=False, framed=True, last=True)
        if self.taker is taker:
            self._end(taker, clean=answer.persistent and got == length)

    def _body(self, taker: AnswerTaker, answer: ResponseHead, data: bytes) -> None:
        chunks = self._chunks
        if chunks is not None:
            out, done, surplus = self._unchunk(taker, chunks, data)
            if self.taker is not taker:
                return
            if out:
                taker.answer_data(out)
            if done and self.taker is taker:
                self._end(taker, clean=answer.persistent and not surplus)
            return
        left = self._left
        if left == _UNTIL_CLOSE:
            taker.answer_data(data)
            return
        got = len(data)
        if got < left:
            self._left = left - got
            taker.answer_data(data)
            return
        taker.answer_data(data if got == left else data[:left])
        if self.taker is taker:
            self._end(taker, clean=answer.persistent and got == left)

    def _unchunk(self, taker: AnswerTaker, chunks: ChunkReader, data: bytes) -> tuple[bytes, bool, bytes]:
        framed = not taker.http10
        try:
            out, surplus = chunks.feed(data, keep_framing=framed)
            if chunks.done and framed:
                out += b"0\r\n" + allowed_trailers(chunks.trailers, self._limits) + b"\r\n"
        except (ChunkError, HeadError) as error:
            self.taker = None
            taker.answer_refused(self, HeadError(str(error), 502))
            return b"", False, b""
        return out, chunks.done, surplus

    def _end(self, taker: AnswerTaker, *, clean: bool) -> None:
        self.taker = None
        self._answer = None
        self._started = False
        self._interim = 0
        taker.answer_ends(self, clean=clean)

    def _salvage(self) -> None:
        read = 0
        while self.taker is not None and read < _SALVAGE:
            data = read_now(self.transport)
            if not data:
                return
            read += len(data)
            self.data_received(data)


class Date(Protocol):
    """The current `Date` value."""

    def __call__(self) -> bytes:
        """As RFC 9110 section 5.6.7 writes it."""


class IdleLinks:
    """The idle connections to the backends of one app, newest last. Owned by the app.

    A connection is used again only while it is young (contracts.md 8): a server's idle limit and our next request
    must not meet. For a request that cannot be sent twice the limit is shorter still, follows what this backend has
    been seen doing or announces, and the socket is asked at the last moment whether its end has arrived.
    A backend counts from when it has sent its answer, we from when we have read it: a short limit goes by the kernel.
    """

    __slots__ = ("_clock", "_closed_at_age", "_links", "most", "reuse_s", "reuse_unsafe_s")

    def __init__(self, *, reuse_s: float, reuse_unsafe_s: float, most: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.reuse_s = reuse_s
        self.reuse_unsafe_s = reuse_unsafe_s
        self.most = most
        self._links: dict[str, list[BackendLink]] = {}
        self._closed_at_age: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(links) for links in self._links.values())

    def take(self, backend_id: str, now: float, *, repeatable: bool) -> BackendLink | None:
        """A connection that a request may use, or None: make a new one."""
        links = self._links.get(backend_id)
        if not links:
            return None
        link = links[-1]
        age = now - link.idle_since
        limit = self.reuse_s
        if link.idle_limit_s is not None and link.idle_limit_s * 0.5 < limit:
            limit = link.idle_limit_s * 0.5
        if not repeatable:
            limit = min(limit, self.reuse_unsafe_s, self._closed_at_age.get(backend_id, limit) * 0.5)
            if age >= limit:
                return None
            if limit < self.reuse_unsafe_s and silent_s(link.transport) >= limit:
                # Its answer waited for us: the backend's limit, which is a short one, has run since it was sent. Asked
                # only then, for it costs 2 µs.
                return None
            if not quiet(link.transport):
                # Its end has arrived and was not seen yet, or bytes that nobody asked for.
                links.pop()
                link.transport.abort()
                return None
        elif age >= limit:
            return None
        links.pop()
        link.reused = True
        return link

    def put(self, link: BackendLink, now: float) -> bool:
        """Keep a link for later; False (and closed) if there are enough."""
        links = self._links.setdefault(link.entry.id, [])
        if len(links) >= self.most:
            link.transport.close()
            return False
        link.idle_since = now
        links.append(link)
        return True

    def forget(self, link: BackendLink) -> bool:
        """Take a link out; False if it was not there."""
        links = self._links.get(link.entry.id)
        if links is None or link not in links:
            return False
        links.remove(link)
        return True

    def ended(self, link: BackendLink) -> None:
        """The backend closed an idle link: remember at what age."""
        if self.forget(link):
            age = self._clock() - link.idle_since
            self._closed_at_age[link.entry.id] = min(age, self._closed_at_age.get(link.entry.id, age))

    def drop(self, backend_id: str) -> None:
        """Close all of one backend."""
        self._closed_at_age.pop(backend_id, None)
        for link in self._links.pop(backend_id, ()):
            link.transport.close()

    def sweep(self, now: float) -> None:
        """Close what is too old to be used."""
        for links in self._links.values():
            old = 0
            while old < len(links) and now - links[old].idle_since >= self.reuse_s:
                old += 1
            for link in links[:old]:
                link.transport.close()
            del links[:old]

    def close(self) -> None:
        """Close all."""
        for backend_id in tuple(self._links):
            self.drop(backend_id)
