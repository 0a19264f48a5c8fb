"""The app of README.md for ASGI servers."""

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
EVENTS = [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await _tunnel(receive, send)
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message.get("more_body"):
            break
    method = (b"x-method", scope["method"].encode())
    match scope["path"]:
        case "/echo":
            await _answer(send, 200, [(b"content-length", b"%d" % len(body)), method], [body])
        case "/parts":
            parts = [body[start : start + 10_000] for start in range(0, len(body), 10_000)]
            await _answer(send, 200, [(b"content-type", b"application/octet-stream")], parts)
        case "/none":
            await _answer(send, 204, [method], [])
        case "/same":
            await _answer(send, 304, [(b"etag", b'"x"')], [])
        case "/events":
            await _answer(send, 200, [(b"content-type", b"text/event-stream")], EVENTS)
        case _:
            await _answer(send, 404, [(b"content-length", b"0")], [])


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _tunnel(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kind = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: message[kind]})
