"""The drains of one app that run: each a task of its own, so that no one waits for another.

Flow: history or stream → **drains** → receivers. Which drains an app has is the store's to keep; here they are built
from their records, tried, ended, and asked how they do.
"""

import asyncio
import contextlib
import random
import ssl
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

from dynod.core.drain import DrainRecord
from dynod.core.drain_policy import HTTP_RULES, LOCAL_RULES, SYSLOG_RULES, Outcome, RetryRules
from dynod.core.drain_url import DrainKind, DrainUrl, LineForm
from dynod.core.log_codes import bad_certificate
from dynod.core.log_line import API_PS, platform_batch
from dynod.core.syslog_frame import http_form, syslog_form
from dynod.logs.drain import HTTP_TARGET_BYTES, TARGET_BYTES, Drain, DrainHealth, Writing
from dynod.logs.drain_supply import HistorySupply, StreamSupply, Supply
from dynod.logs.drain_transport import Delivery, FileTransport, Frame, StdoutTransport, Transport
from dynod.logs.history_sink import HistorySink
from dynod.logs.stream import LogStream
from dynod.logs.syslog_transport import SyslogTransport
from dynod.logs.tail import Tail

BUG: Final = "a bug in dynod ended this drain; its log says more. Remove the drain and add it again"

MakeContext = Callable[[], ssl.SSLContext]


class DrainSet:
    """Owned by the app's logs. Tasks live in the daemon's group."""

    def __init__(
        self,
        *,
        app: str,
        stream: LogStream,
        history: HistorySink | None,
        group: asyncio.TaskGroup,
        make_context: MakeContext = ssl.create_default_context,
    ) -> None:
        """`history` None: drains follow the live stream, in memory (`up`)."""
        self._app = app
        self._stream = stream
        self._history = history
        self._group = group
        self._make_context = make_context
        self._running: dict[str, _Running] = {}

    def rename(self, app: str) -> None:
        """The app is called so from now on."""
        self._app = app
        for running in self._running.values():
            running.drain.rename(app)

    def start(self, record: DrainRecord) -> None:
        """From where it was, or from where it begins."""
        tail: Tail | None = None
        supply: Supply
        if self._history is not None:
            path = self._record_path(self._history, record)
            supply = HistorySupply(self._history, path, begin=record.begin, clock=time.time)
        else:
            tail = self._stream.follow()
            supply = StreamSupply(tail)
        drain = Drain(
            supply=supply,
            transport=self._transport(record),
            writing=self._writing(record),
            rules=_rules(record.url),
            clock=time.time,
            random=random.random,
            distrusts=lambda: self._stream.logplex(bad_certificate(record.url.shown)),
        )
        running = _Running(drain, supply, tail)
        self._running[record.id] = running
        running.task = self._group.create_task(running.run(), name=f"drain:{record.token}")

    async def remove(self, record: DrainRecord) -> None:
        """End it, and forget where it was."""
        running = self._running.pop(record.id, None)
        if running is None:
            return
        await running.end()
        if running.tail is not None:
            self._stream.leave(running.tail)
        if self._history is not None:
            self._record_path(self._history, record).unlink(missing_ok=True)

    def health(self, record: DrainRecord) -> DrainHealth | None:
        """How it does; None for one that does not run."""
        running = self._running.get(record.id)
        return running.health if running is not None else None

    async def test(self, record: DrainRecord, message: str) -> Delivery:
        """Send one message over a connection of its own; what waits in the drain is tried again at once then."""
        batch = platform_batch(time=time.time(), source="app", ps=API_PS, messages=(message,))
        body = self._writing(record).body((batch,))
        transport = self._transport(record)
        try:
            delivery = await transport.send(Frame(body=body, messages=1))
        finally:
            await transport.close()
        running = self._running.get(record.id)
        if delivery.outcome is Outcome.DELIVERED and running is not None:
            running.drain.hasten()
        return delivery

    async def close(self, timeout_s: float) -> None:
        """Send what is there, for at most so long, then end them all. What is left over is sent after the next start,
        where there is a history.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for running in tuple(self._running.values()):
                    await running.drain.emptied()
        for running in self._running.values():
            await running.end()
        self._running.clear()

    @staticmethod
    def _record_path(history: HistorySink, record: DrainRecord) -> Path:
        return history.folder.path / f"drain-{record.id}.ledger"

    def _transport(self, record: DrainRecord) -> Transport:
        match record.url.kind:
            case DrainKind.HTTP:
                from dynod.logs.http_transport import HttpTransport  # noqa: PLC0415 (aiohttp: 0.1 s, for such drains)

                return HttpTransport(record.url, token=record.token, make_context=self._make_context)
            case DrainKind.SYSLOG:
                return SyslogTransport(record.url, make_context=self._make_context)
            case DrainKind.FILE:
                return FileTransport(record.url.path)
            case DrainKind.STDOUT:
                return StdoutTransport()
            case _:
                assert_never(record.url.kind)

    def _writing(self, record: DrainRecord) -> Writing:
        frames = {
            DrainKind.HTTP: http_form(),
            DrainKind.SYSLOG: syslog_form(record.token),
        }.get(record.url.kind)
        return Writing(
            app=self._app,
            frames=frames,
            as_json=record.url.form is LineForm.JSON,
            target_bytes=HTTP_TARGET_BYTES if record.url.kind is DrainKind.HTTP else TARGET_BYTES,
        )


class _Running:
    """A drain with its task. The boundary of what may go wrong in it: a bug ends this drain alone."""

    def __init__(self, drain: Drain, supply: Supply, tail: Tail | None) -> None:
        self.drain = drain
        self.supply = supply
        self.tail = tail
        self.task: asyncio.Task[None] | None = None
        self._is_broken = False

    @property
    def health(self) -> DrainHealth:
        return self.drain.health

    async def run(self) -> None:
        try:
            await self.drain.run()
        except Exception:  # noqa: BLE001 - the boundary of a drain: neither other drains nor dynos pay for its bug
            self.drain.note(BUG)
            traceback.print_exc(file=sys.stderr)

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


def _rules(url: DrainUrl) -> RetryRules:
    match url.kind:
        case DrainKind.HTTP:
            return HTTP_RULES
        case DrainKind.SYSLOG:
            return SYSLOG_RULES
        case DrainKind.FILE | DrainKind.STDOUT:
            return LOCAL_RULES
        case _:
            assert_never(url.kind)
