"""From real children through real pipes to stdout: nothing lost, nothing stuck, nobody starved, whatever they do."""

import asyncio
import contextlib
import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from dynod.logs.dyno_pipe import is_full, unread_bytes
from support.log_pipeline import GAP, let_the_loop_turn, pipeline, shrink, turn_until

Scenario = Callable[[], Awaitable[None]]


def open_files() -> set[str]:
    return {f"{entry.name} {entry.readlink()}" for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


@pytest.fixture(params=["uvloop", "asyncio"])
def play(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[None]], None]]:
    """Runs a scenario on a loop of its own; afterwards no descriptor is left."""
    uvloop.new_event_loop().close()  # the first loop of a process opens what libuv keeps
    before = open_files()
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(scenario: Awaitable[None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:

            async def awaited() -> None:
                await scenario

            runner.run(awaited())

    yield run
    assert open_files() == before


Play = Callable[[Awaitable[None]], None]
both_ways = pytest.mark.parametrize("peek", [True, False], ids=["tee", "plain reads"])


def flooded(count: int) -> list[bytes]:
    return [b"line %d of %d" % (number, count) for number in range(1, count + 1)] + [b"flooded"]


@both_ways
def test_floods_of_several_dynos_arrive_whole_and_in_order(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            children = {ps: line.toy(ps, "floods", "20000") for ps in ("web.1", "web.2", "worker.1")}
            await line.reader.until(lambda output: output.count(b": flooded\n") == 3)
            for ps, child in children.items():
                child.terminate()
                await line.end(ps, child)
                assert line.reader.messages(ps) == flooded(20000)
            assert sorted(line.first) == ["web.1", "web.2", "worker.1"]

    play(scenario())


@both_ways
def test_a_half_line_waits_for_its_end_and_is_flushed_at_exit(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            cat = line.run("web.1", "cat")
            assert cat.stdin is not None
            os.write(cat.stdin.fileno(), b"first\nsec")
            await line.reader.until_seen(b"first\n")
            os.write(cat.stdin.fileno(), b"ond\nthird\r\nbye")
            await line.reader.until_seen(b"third\n")
            assert line.reader.messages("web.1") == [b"first", b"second", b"third"]
            cat.stdin.close()
            await line.end("web.1", cat)
            assert line.reader.messages("web.1") == [b"first", b"second", b"third", b"bye"]

    play(scenario())


@both_ways
def test_an_instance_that_wrote_half_a_line_has_written(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            _, write_end = line.adopt("web.1")
            await let_the_loop_turn()
            assert not line.pump.has_written("web.1")
            assert line.pump.last_output_at("web.1") is None
            os.write(write_end, b"prompt> ")
            await turn_until(lambda: line.first)
            assert line.pump.has_written("web.1")
            assert line.pump.last_output_at("web.1") is not None
            os.close(write_end)

    play(scenario())


@both_ways
def test_binary_output_passes_byte_for_byte(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            line.toy("web.1", "binary")
            await line.reader.until_seen("täglich 日本 🐙\n".encode())
            every_byte = bytes(value for value in range(256) if value != ord("\n"))
            assert bytes(line.reader.output).split(b"app[web.1]: ", 1)[1].startswith(every_byte + b"\n")
            assert b"app[web.1]: \xff\xfe broken \xc3\n" in line.reader.output

    play(scenario())


@both_ways
def test_a_line_of_10001_bytes_is_cut_at_10000(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            cat = line.run("web.1", "cat")
            assert cat.stdin is not None
            os.write(cat.stdin.fileno(), b"x" * 10_001)
            await line.reader.until_seen(b"x" * 10_000 + b"\n")
            os.write(cat.stdin.fileno(), b"y\n" + b"z" * 10_000 + b"\r\n")
            cat.stdin.close()
            await line.end("web.1", cat)
            assert line.reader.messages("web.1") == [b"x" * 10_000, b"xy", b"z" * 10_000]

    play(scenario())


@both_ways
def test_a_dyno_that_closes_stdout_is_heard_out_at_once(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            script = "import os, sys; os.write(1, b'whole\\nbye'); os.close(1); os.close(2); sys.stdin.read()"
            child = line.run("web.1", sys.executable, "-c", script)
            await line.reader.until_seen(b": bye\n")
            assert child.poll() is None
            assert child.stdin is not None
            child.stdin.close()
            await line.end("web.1", child)
            assert line.reader.messages("web.1") == [b"whole", b"bye"]

    play(scenario())


@both_ways
@pytest.mark.parametrize("state", ["half a line", "ended", "under way"])
def test_a_silent_pipe_wakes_nobody(play: Play, peek: bool, state: str) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek, limit=1, stall_s=0) as line:
            _, write_end = line.adopt("web.1")
            if state == "under way":
                line.reader.stop()
                os.write(write_end, b"x\n" * 60_000)
                await turn_until(lambda: line.pump._outputs["web.1"].busy)
            else:
                os.write(write_end, b"whole\nhalf")
                if state == "ended":
                    os.close(write_end)
                await line.reader.until_seen(b"half\n" if state == "ended" else b"whole\n")
                output = line.pump._outputs["web.1"]  # which hears later than the reader that all was taken
                await turn_until(lambda: not (output.busy or output.queued or output.readable))
            await let_the_loop_turn()
            looks = 0
            look = line.pump._pipes.look

            def counting(fd: int, limit: int) -> bytes | None:
                nonlocal looks
                looks += 1
                return look(fd, limit)

            line.pump._pipes.look = counting  # type: ignore[method-assign] # counts, and does what it did
            await let_the_loop_turn(500)
            assert looks == 0
            if state != "ended":
                os.close(write_end)

    play(scenario())


@both_ways
def test_a_stray_process_that_holds_the_pipe_is_not_waited_for(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            child = line.toy("web.1", "holds_pipe_open")
            pid = 0
            try:
                await asyncio.to_thread(child.wait)
                await line.reader.until_seen(b"child ready pid=")
                found = re.search(rb"child ready pid=(\d+)\n", line.reader.output)
                assert found
                pid = int(found[1])
                await line.pump.finish("web.1")
                assert b"parent ends" in line.reader.output
            finally:
                if pid:
                    os.kill(pid, signal.SIGKILL)

    play(scenario())


@both_ways
def test_a_stray_process_that_goes_on_writing_is_not_waited_for(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            line.run("web.1", "yes", "still here")
            await line.reader.until_seen(b"still here")
            await line.pump.finish("web.1")
            assert not line.pump.has_written("web.1")

    play(scenario())


@both_ways
def test_a_noisy_dyno_does_not_silence_another(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            line.run("noisy.1", "yes", "me me me")
            await line.reader.until_seen(b"me me me")
            cat = line.run("quiet.1", "cat")
            assert cat.stdin is not None
            for number in range(20):
                os.write(cat.stdin.fileno(), b"number %d\n" % number)
                await line.reader.until_seen(b"app[quiet.1]: number %d\n" % number)
                line.reader.output.clear()

    play(scenario())


@both_ways
def test_a_reader_that_pauses_slows_the_dyno_and_loses_nothing(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek, stall_s=0) as line:
            line.reader.stop()
            child = line.toy("web.1", "floods", "60000", "60")
            await turn_until(lambda: is_full(line.pump._outputs["web.1"].fd))
            await let_the_loop_turn()
            assert child.poll() is None
            assert not line.reader.output
            line.reader.read_on()
            await line.reader.until_seen(b": flooded\n")
            child.terminate()
            await line.end("web.1", child)
            messages = line.reader.messages("web.1")
            assert [message.rstrip(b".") for message in messages] == flooded(60000)
            assert dict(line.sink.dropped) == {}

    play(scenario())


@both_ways
def test_what_still_waits_for_the_reader_is_known_once_nobody_can_write(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek, stall_s=0) as line:
            line.reader.stop()
            child = line.toy("web.1", "floods", "60000", "60")
            await turn_until(lambda: is_full(line.pump._outputs["web.1"].fd))
            assert not line.pump.awaits_reader("web.1"), "it may still write"
            child.kill()
            child.wait()
            assert line.pump.awaits_reader("web.1")
            before = line.pump.handed_on
            line.reader.read_on()
            await turn_until(lambda: not line.pump.awaits_reader("web.1"))
            assert line.pump.handed_on > before
            assert not line.pump.awaits_reader("web.2"), "none of this name"

    play(scenario())


@both_ways
def test_dynos_take_turns_while_the_reader_has_no_room(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek, limit=1, stall_s=0) as line:
            line.reader.stop()
            names = [f"web.{number}" for number in range(1, 9)]
            ends = {ps: line.adopt(ps)[1] for ps in names}
            text = b"".join(b"%09d\n" % number for number in range(10_000))
            for end in ends.values():
                os.write(end, text[:60_000])
            await turn_until(lambda: line.pump._is_paused)
            for end in ends.values():
                os.write(end, text[60_000:] + b"bye")
                os.close(end)
            line.reader.read_on()
            await asyncio.gather(*[line.pump.finish(ps) for ps in names])
            line.stream.api("the end")
            await line.reader.until_seen(b"app[api]: the end\n")
            for ps in names:
                assert line.reader.messages(ps) == [*text.splitlines(), b"bye"]

    play(scenario())


@both_ways
def test_a_stalled_reader_costs_lines_which_are_counted(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek, stall_s=0.05) as line:
            line.reader.stop()
            script = f"import os; [os.write(1, b'%099d\\n' % n) for n in range({total})]"
            child = line.run("web.1", sys.executable, "-c", script)
            await asyncio.to_thread(child.wait)  # 6 MB fit nowhere: it ends only if lines are dropped
            line.reader.read_on()
            await line.pump.finish("web.1")
            line.stream.platform("web.1", "Process exited with status 0")
            await line.reader.until_seen(b"Process exited with status 0\n")
            numbers = [int(message) for message in line.reader.messages("web.1") if message.isdigit()]
            announced = [int(count) for count in GAP.findall(line.reader.output)]
            assert announced
            assert numbers == sorted(set(numbers))
            assert len(numbers) + sum(announced) == total
            assert numbers[-1] == total - 1  # the oldest went, the newest are there
            assert dict(line.sink.dropped) == {"web.1": sum(announced)}

    total = 60_000
    play(scenario())


@pytest.mark.parametrize("filling", ["large writes", "small packets"])
def test_a_pipe_too_small_for_a_line_does_not_hang_its_dyno(play: Play, filling: str) -> None:
    async def scenario() -> None:
        async with pipeline() as line:
            read_end, write_end = line.adopt("web.1")
            shrink(read_end)
            text = bytes(random.Random(1).choices(range(32, 127), k=9000))
            size = len(text)
            if filling == "small packets":  # each takes a page of the pipe
                fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_DIRECT)
                size = 10
            for at in range(0, len(text), size):
                await asyncio.to_thread(os.write, write_end, text[at : at + size])
            await asyncio.to_thread(os.write, write_end, b"\nnext\nbye")
            os.close(write_end)
            await line.pump.finish("web.1")
            assert line.reader.messages("web.1") == [text, b"next", b"bye"]

    play(scenario())


def test_a_pipe_is_full_when_its_pages_are() -> None:
    read_end, write_end = os.pipe()
    try:
        size = shrink(read_end)
        os.write(write_end, b"x" * (size - 1))
        assert not is_full(read_end) or size == 4096
        os.write(write_end, b"x")
        assert is_full(read_end)
        os.read(read_end, size)
        assert not is_full(read_end)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_finish_goes_on_when_who_asked_for_it_is_cancelled(play: Play) -> None:
    async def scenario() -> None:
        async with pipeline() as line:
            line.reader.stop()
            _, write_end = line.adopt("web.1")
            os.write(write_end, b"x" * 99 + b"\n" + b"last words")
            os.close(write_end)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await line.pump.finish("web.1")
            line.reader.read_on()
            await line.pump.finish("web.1")
            await line.reader.until_seen(b"last words\n")
            await line.pump.finish("web.1")  # and once more, for nothing

    play(scenario())


@both_ways
def test_a_dyno_may_reopen_its_stdout(play: Play, peek: bool) -> None:
    async def scenario() -> None:
        async with pipeline(peek=peek) as line:
            child = line.run("web.1", "sh", "-c", "echo one; echo two > /dev/stdout; echo three >> /dev/stderr")
            await line.end("web.1", child)
            await line.reader.until_seen(b"three\n")
            assert line.reader.messages("web.1") == [b"one", b"two", b"three"]

    play(scenario())


def test_a_descriptor_that_the_keeper_shares_is_no_longer_watched(play: Play) -> None:
    async def scenario() -> None:
        async with pipeline() as line:
            read_end, write_end = line.adopt("web.1")
            keepers = os.dup(read_end)
            os.write(write_end, b"one\n")
            await line.reader.until_seen(b"one\n")
            await line.pump.finish("web.1")
            os.write(write_end, b"two\n")
            await let_the_loop_turn()
            assert unread_bytes(keepers) == 4
            assert line.reader.messages("web.1") == [b"one"]
            os.close(keepers)
            os.close(write_end)

    play(scenario())


def test_the_fallback_is_chosen_where_tee_is_switched_off(play: Play) -> None:
    async def scenario() -> None:
        async with pipeline(peek=True) as line, pipeline(peek=False) as other:
            assert line.pump.keeps_unread
            assert not other.pump.keeps_unread

    play(scenario())


CORE = """
import asyncio, os, sys, time
import uvloop
from dynod.logs.pump import OutputPump
from dynod.logs.stdout_sink import StdoutSink
from dynod.logs.stream import LogStream

async def core(fd, is_first):
    loop = asyncio.get_running_loop()
    sink = StdoutSink(loop, on_room=lambda: pump.resume(), on_closed=lambda _: None, ends_broken_line=not is_first)
    pump = OutputPump(loop, publish=LogStream(sink, clock=time.time).publish_app)
    sink.start()
    pump.add("instance", "web.1", fd)
    await asyncio.to_thread(sys.stdin.read)
    await pump.finish("instance")
    await sink.flush_and_close(10)
    await pump.close()

uvloop.run(core(int(sys.argv[1]), sys.argv[2] == "0"))
"""


@pytest.mark.parametrize("target", ["file", "pipe"])
def test_a_killed_core_repeats_lines_and_loses_none(tmp_path: Path, target: str) -> None:
    """Contracts 3: kill -9 in the middle of a flood, again and again; the next core goes on with the same pipe."""
    total = 200_000
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    out_end, in_end = os.pipe()
    stdout_out, stdout_in = os.pipe()
    path = tmp_path / "out"
    if target == "file":
        os.close(stdout_in)
        stdout_in = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block = "b''.join(b'line %07d\\n' % m for m in range(n, n + 500))"
    script = f"import os\nfor n in range(0, {total}, 500): os.write(1, {block})\nos.write(1, b'the end')"
    output = bytearray()

    def grow(wanted: int) -> None:
        """Until so many bytes have come out, or the flood is over."""
        while len(output) < wanted:
            if target == "pipe":
                output.extend(os.read(stdout_out, 1 << 16))
            else:
                output[:] = path.read_bytes()
                if unread_bytes(out_end) == 0 and child.poll() is not None:
                    return

    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=in_end)
    os.close(in_end)
    try:
        for turn in range(8):
            is_last = turn == 7
            with subprocess.Popen(
                [sys.executable, "-c", CORE, str(out_end), str(turn)],
                stdin=subprocess.PIPE,
                stdout=stdout_in,
                pass_fds=[out_end],
                cwd=Path(__file__).parent.parent.parent,
            ) as core:
                assert core.stdin is not None
                if is_last:
                    ender = threading.Thread(target=lambda stdin=core.stdin: (child.wait(), stdin.close()))
                    ender.start()
                    os.close(stdout_in)
                    while target == "pipe" and (more := os.read(stdout_out, 1 << 16)):
                        output.extend(more)
                    ender.join()
                    assert core.wait() == 0
                else:
                    grow(len(output) + chance.randrange(1, 1_500_000))
                    core.kill()
        child.wait()
    finally:
        child.kill()
        child.wait()
        for fd in (out_end, stdout_out):
            os.close(fd)
    if target == "file":
        output[:] = path.read_bytes()
    whole = re.compile(rb"^\S+ app\[web\.1\]: (?:line (\d{7})|(the end))$", re.MULTILINE)
    highest = -1
    for found in whole.finditer(bytes(output)):
        number = int(found[1]) if found[1] else total
        assert number <= highest + 1, f"line {highest + 1} is missing"
        highest = max(highest, number)
    assert highest == total
