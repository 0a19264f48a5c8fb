"""The usual Python proxy, for comparison: an aiohttp server that asks an aiohttp client. PORT BACKEND-PORT LOG-FILE."""

import sys
import time
import uuid

import aiohttp
import uvloop
from aiohttp import web

HOP = {"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-authorization", "content-length"}


def main() -> None:
    port, backend, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    session: aiohttp.ClientSession
    lines: list[str] = []

    async def proxy(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        fields = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        request_id = str(uuid.uuid4())
        fields += [
            ("X-Forwarded-For", request.remote or ""),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Port", str(port)),
            ("X-Request-Id", request_id),
            ("X-Request-Start", str(int(time.time() * 1000))),
            ("Via", "1.1 aiohttp"),
        ]
        body = request.content if request.can_read_body else None
        url = f"http://127.0.0.1:{backend}{request.path_qs}"
        async with session.request(
            request.method, url, headers=fields, data=body, allow_redirects=False, auto_decompress=False
        ) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
            out = web.StreamResponse(status=answer.status, reason=answer.reason)
            out.headers.extend([*kept, ("Via", "1.1 aiohttp")])
            out.content_length = answer.content_length
            await out.prepare(request)
            async for piece in answer.content.iter_any():
                await out.write(piece)
            await out.write_eof()
        took = (time.perf_counter() - started) * 1000
        lines.append(
            f'at=info method={request.method} path="{request.path_qs}" host={request.host} request_id={request_id} '
            f"service={took:.0f}ms status={answer.status}\n"
        )
        if len(lines) > 500:
            file.write("".join(lines))
            file.flush()
            lines.clear()
        return out

    async def made(_: web.Application) -> None:
        nonlocal session
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)

    file = open(log, "a", encoding="utf-8")  # noqa: SIM115, PTH123  # open as long as the process
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy)
    app.on_startup.append(made)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
