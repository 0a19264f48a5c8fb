"""A pump, a stream and a stdout sink around real pipes, with a reader that a test can stop and start."""

import asyncio
import contextlib
import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from dynod.logs.pump import OutputPump
from dynod.logs.stdout_sink import StdoutSink
from dynod.logs.stream import LogStream

TOYS = Path(__file__).parent.parent / "toys"
STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 (\w+)\[([\w.]+)\]: ")
GAP = re.compile(
    rb"heroku\[logplex\]: Error L11 \(Tail buffer overflow\) -> This tail session dropped (\d+) messages since "
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\.$",
    re.MULTILINE,
)


class Reader:
    """Whoever reads dynod's stdout: reads as the loop allows, or not at all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._out, self.stdout = os.pipe()
        os.set_blocking(self._out, False)
        self._changed = asyncio.Event()
        self.output = bytearray()

    def read_on(self) -> None:
        self._loop.add_reader(self._out, self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._out)

    def go_away(self) -> None:
        self.stop()
        os.close(self._out)
        self._out = -1

    async def until(self, holds: Callable[[bytes], object]) -> None:
        while not holds(bytes(self.output)):
            self._changed.clear()
            await self._changed.wait()

    async def until_seen(self, text: bytes) -> None:
        await self.until(lambda output: text in output)

    def messages(self, ps: str) -> list[bytes]:
        """What came after the prefix, of one process. Every line must have a prefix."""
        found = []
        for line in bytes(self.output).splitlines(keepends=True):
            stamp = STAMP.match(line)
            assert stamp, line
            if stamp[2].decode() == ps:
                assert line.endswith(b"\n"), line
                found.append(line[stamp.end() : -1])
        return found

    def close(self) -> None:
        os.close(self.stdout)
        if self._out >= 0:
            self.go_away()

    def _read(self) -> None:
        self.output += os.read(self._out, 1 << 20)
        self._changed.set()


class Pipeline:
    """The composition that the daemon makes, small."""

    def __init__(self, *, peek: bool, stall_s: float, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self.reader = Reader(loop)
        self.closed: list[OSError] = []
        self.first: list[str] = []
        self.sink = StdoutSink(
            loop,
            fd=self.reader.stdout,
            on_room=lambda: self.pump.resume(),  # noqa: PLW0108 - the pump is made after the sink
            on_closed=self.closed.append,
            stall_s=stall_s,
            limit=limit,
        )
        self.stream = LogStream(self.sink, clock=time.time)
        self.pump = OutputPump(loop, publish=self.stream.publish_app, on_first_output=self.first.append, peek=peek)
        self._processes: list[subprocess.Popen[bytes]] = []

    def adopt(self, ps: str) -> tuple[int, int]:
        """A pipe that no child writes to: its read end, given to the pump, and its write end, the caller's."""
        read_end, write_end = os.pipe()
        self.pump.add(ps, ps, read_end)
        return read_end, write_end

    def run(self, ps: str, *command: str) -> subprocess.Popen[bytes]:
        """A real child with its stdin open; its instance is called as its process."""
        read_end, write_end = self.adopt(ps)
        del read_end
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write_end, stderr=write_end)
        os.close(write_end)
        self._processes.append(process)
        return process

    def toy(self, ps: str, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self.run(ps, sys.executable, str(TOYS / f"{name}.py"), *arguments)

    async def end(self, ps: str, process: subprocess.Popen[bytes]) -> None:
        """The child ends by itself; then its output is finished."""
        await asyncio.to_thread(process.wait)
        await self.pump.finish(ps)

    async def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        await self.pump.close()
        with contextlib.suppress(ValueError, OSError):
            self.reader.read_on()  # so that the writer's thread is not left in a write
        await self.sink.flush_and_close(5.0)
        self.reader.close()


@contextlib.asynccontextmanager
async def pipeline(*, peek: bool = True, stall_s: float = 10.0, limit: int = 256 * 1024) -> AsyncIterator[Pipeline]:
    made = Pipeline(peek=peek, stall_s=stall_s, limit=limit)
    made.sink.start()
    made.reader.read_on()
    try:
        async with asyncio.timeout(40):
            yield made
    finally:
        await made.close()


def shrink(fd: int) -> int:
    """Make a pipe as small as the kernel allows; returns its size in bytes."""
    return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)


async def let_the_loop_turn(times: int = 50) -> None:
    """Everything that is ready gets its turn; what happens without a cause would happen now."""
    for _ in range(times):
        await asyncio.sleep(0)


async def turn_until(holds: Callable[[], object]) -> None:
    """For what tells nobody when it happens; the pipeline's deadline ends it."""
    while not holds():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
