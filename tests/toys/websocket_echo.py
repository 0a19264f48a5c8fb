"""A web dyno that sends every WebSocket message back, after its own name as a first message."""

import asyncio
import os
import signal

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    await connection.send(os.environ["DYNO"])
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(echo, "127.0.0.1", int(os.environ["PORT"])):
        print("listening", flush=True)
        await stop.wait()


asyncio.run(main())
