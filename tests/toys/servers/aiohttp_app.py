"""The app of README.md for aiohttp, which is a server of its own."""

import sys

from aiohttp import web

EVENTS = [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-Method": request.method})


async def parts(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    response = web.StreamResponse()
    await response.prepare(request)
    for start in range(0, len(body), 10_000):
        await response.write(body[start : start + 10_000])
    return response


async def none(request: web.Request) -> web.Response:
    return web.Response(status=204, headers={"X-Method": request.method})


async def same(_request: web.Request) -> web.Response:
    return web.Response(status=304, headers={"ETag": '"x"'})


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in EVENTS:
        await response.write(event)
    return response


async def tunnel(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    async for message in socket:
        if isinstance(message.data, str):
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


if __name__ == "__main__":
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/echo", echo)
    app.router.add_post("/parts", parts)
    app.router.add_get("/none", none)
    app.router.add_get("/same", same)
    app.router.add_get("/events", events)
    app.router.add_get("/tunnel", tunnel)

    def listening(text: str) -> None:
        print(text, flush=True)

    web.run_app(app, host=sys.argv[1], port=0, print=listening)
