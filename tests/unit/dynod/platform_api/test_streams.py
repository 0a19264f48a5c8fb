"""Answers that go on: bounded in number, and whoever takes nothing is dropped and counted."""

import asyncio
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from dynod.core.losses import Loss
from dynod.platform_api.gate import ON_BUG
from dynod.platform_api.server import report_bug
from dynod.platform_api.streams import Streams, answer_stream

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536
        await asyncio.sleep(0)


class Counting(Streams):
    """Which says when none is open any more."""

    def __init__(self, most: int, *, patience_s: float) -> None:
        self.lost: list[Loss] = []
        super().__init__(most, patience_s=patience_s, lose=lambda what, _count: self.lost.append(what))
        self.all_ended = asyncio.Event()
        self._ended = 0

    async def send(self, request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
        try:
            await super().send(request, response, pieces)
        finally:
            self._ended += 1
            if self._ended == 2:
                self.all_ended.set()


async def serve(streams: Streams, most_open: int) -> tuple[web.AppRunner, list[socket.socket]]:
    """And so many clients who have asked and read nothing."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer_stream(request, "/", endless(), streams=streams)

    application = web.Application()
    application[ON_BUG] = report_bug
    application.router.add_get("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    clients = []
    for _ in range(most_open):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(runner.addresses[0])
        client.sendall(HEAD)
        clients.append(client)
    return runner, clients


async def stalled() -> None:
    streams = Counting(2, patience_s=0.2)
    runner, clients = await serve(streams, 2)
    async with asyncio.timeout(30):
        await streams.all_ended.wait()
    assert streams.dropped == len(clients)
    assert streams.lost == [Loss.DASHBOARD_PAGES] * len(clients)
    assert not streams.is_full
    await runner.cleanup()
    for client in clients:
        client.close()


def test_a_stalled_client_is_dropped_and_counted() -> None:
    asyncio.run(stalled())
