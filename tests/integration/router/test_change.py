"""Change and shutdown lose nothing: drain, hand-over, rolling restarts, the idle boundary, descriptors, leaks."""

import asyncio
import contextlib
import gc
import os
import random
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.router.bench import APP, FAST, GET, OK, ScriptedBackend, Wire, answering, bench, on_loop, soon

from router import AppCondition, Backend, Code, Router, format_line
from support.app_folder import TOYS

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"


def descriptors() -> list[str]:
    return [path.name for path in Path("/proc/self/fd").iterdir()]


def open_descriptors() -> int:
    return len(descriptors())


def holding(answer_now: asyncio.Event, answer: bytes = OK, label: str = "web.1") -> ScriptedBackend:
    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            await answer_now.wait()
            await wire.send(answer)

    return ScriptedBackend(script, label)


@on_loop
async def test_a_drained_backend_finishes_and_gets_nothing_new() -> None:
    answer_now = asyncio.Event()
    async with (
        holding(answer_now) as old,
        ScriptedBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew"), "web.1") as new,
        bench(old) as run,
    ):
        clients = [await run.client() for _ in range(5)]
        for client in clients:
            await client.send(GET)
        await soon(lambda: run.router.in_flight(APP) == {old.backend.id: 5})
        run.router.add_backend(APP, new.backend)
        drain = asyncio.ensure_future(run.router.drain_backend(APP, old.backend.id, timeout_s=10))
        for _ in range(20):
            assert (await run.ask()).body == b"new"
        assert not drain.done()
        assert run.router.in_flight(APP)[old.backend.id] == 5
        answer_now.set()
        for client in clients:
            assert (await client.answer()).body == b"hello"
        assert await drain == 0
        run.router.remove_backend(APP, old.backend.id)
        assert list(run.router.in_flight(APP)) == [new.backend.id]


@on_loop
async def test_a_drain_ends_at_its_deadline_and_says_how_many_are_left() -> None:
    answer_now = asyncio.Event()
    async with holding(answer_now) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await soon(lambda: run.router.in_flight(APP) == {backend.backend.id: 1})
        assert await run.router.drain_backend(APP, backend.backend.id, timeout_s=0.05) == 1
        assert await run.router.drain_backend(APP, "unknown", timeout_s=1) == 0
        run.router.remove_backend(APP, backend.backend.id)
        answer_now.set()
        assert (await client.answer()).body == b"hello"  # removal cuts nothing


@on_loop
async def test_a_tunnel_does_not_hold_a_drain_up() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await wire.send(await wire.exactly(4))
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await client.head()
        assert await run.router.drain_backend(APP, backend.backend.id, timeout_s=10) == 0
        await client.send(b"ping")
        assert await client.exactly(4) == b"ping"
        client.close()
        await run.record()


@on_loop
async def test_shutdown_finishes_what_is_under_way_and_closes_the_rest() -> None:
    answer_now = asyncio.Event()
    async with holding(answer_now) as backend, bench(backend) as run:
        idle, busy = await run.client(), await run.client()
        await busy.send(GET)
        await soon(lambda: run.router.in_flight(APP) == {backend.backend.id: 1})
        shutdown = asyncio.ensure_future(run.router.shutdown(drain_timeout_s=10))
        assert await idle.rest() == b""
        answer_now.set()
        answer = await busy.answer()
        assert (answer.body, answer.get("connection")) == (b"hello", "close")
        assert await busy.ended() == "eof"
        assert await shutdown == 0


@on_loop
async def test_a_router_that_retires_answers_once_more_on_each_connection_and_closes_none() -> None:
    """A client that is about to send a POST on a kept-alive connection must not meet its end."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with ScriptedBackend(answering(said)) as backend, bench(backend) as run:
        idle, other = await run.client(), await run.client()
        for client in (idle, other):
            await client.send(GET)
            assert (await client.answer()).get("connection") is None
        retired = asyncio.ensure_future(run.router.retire(60))
        await asyncio.sleep(0)
        for client in (idle, other):
            assert not retired.done()
            await client.send(GET)
            assert (await client.answer()).get("connection") == "close"
            assert await client.ended() == "eof"
        assert await retired == 0


@on_loop
async def test_what_a_router_that_retires_still_has_at_its_deadline_is_cut() -> None:
    async with holding(asyncio.Event()) as backend, bench(backend) as run:
        idle, busy = await run.client(), await run.client()
        await busy.send(GET)
        await soon(lambda: run.router.in_flight(APP) == {backend.backend.id: 1})
        assert await run.router.retire(0.05) == 1
        assert await idle.rest() == b""


@on_loop
async def test_a_listener_is_handed_over_without_a_refused_connection() -> None:
    async with (
        ScriptedBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")) as first,
        ScriptedBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")) as second,
    ):
        routers = []
        for backend in (first, second):
            router = Router(FAST, on_records=lambda _: None)
            router.set_app(APP, condition=AppCondition.SERVING)
            router.set_default_app(APP)
            router.add_backend(APP, backend.backend)
            routers.append(router)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            await routers[0].start([sock])
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            kept = Wire(reader, writer)
            await kept.send(GET)
            assert (await kept.answer()).body == b"one"
            routers[0].stop_accepting()
            reader, writer = await asyncio.open_connection(*sock.getsockname())  # waits in the backlog
            waiting = Wire(reader, writer)
            await waiting.send(GET)
            await kept.send(GET)
            answer = await kept.answer()
            assert (answer.body, answer.get("connection")) == (b"one", "close")
            await routers[1].start([sock])
            assert (await waiting.answer()).body == b"two"
            waiting.close()
            kept.close()
            for router in routers:
                assert await router.shutdown(drain_timeout_s=5) == 0


@on_loop
async def test_rolling_restarts_under_load_fail_no_request() -> None:
    """contracts.md section 9, reduced: half kept and half new connections, half POSTs, restarts in the middle."""
    rng = random.Random(4)
    restarts, workers = 6, 32
    failed: list[object] = []
    sent = 0
    stop = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            head = await wire.head()
            body = await wire.exactly(1000) if head.startswith(b"POST") else b""
            await asyncio.sleep(rng.uniform(0.005, 0.05))
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def worker(number: int) -> None:
        nonlocal sent
        body = bytes(rng.randrange(256) for _ in range(1000))
        client = None
        while not stop.is_set():
            if client is None:
                client = await run.client()
            post = rng.random() < 0.5
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + body if post else GET)
            sent += 1
            try:
                answer = await client.answer()
            except AssertionError as error:
                failed.append(error)
                client = None
                continue
            if answer.status != 200 or answer.body != (body if post else b""):
                failed.append((answer.status, post))
            if number % 2 or answer.get("connection") == "close":
                client.close()
                client = None

    old = await ScriptedBackend(script).__aenter__()
    async with bench(old) as run:
        tasks = [asyncio.ensure_future(worker(number)) for number in range(workers)]
        in_flight_at_switch = []
        for _ in range(restarts):
            before = len(run.records)
            new = await ScriptedBackend(script).__aenter__()
            run.router.add_backend(APP, new.backend)
            await run._until(before + 100)
            in_flight_at_switch.append(run.router.in_flight(APP)[old.backend.id])
            assert await run.router.drain_backend(APP, old.backend.id, timeout_s=10) == 0
            run.router.remove_backend(APP, old.backend.id)
            await old.__aexit__()  # the process is gone, connections and all
            old = new
        stop.set()
        await asyncio.gather(*tasks)
        await soon(lambda: len(run.records) == sent)
        assert not failed, failed
        assert {record.status for record in run.records} == {200}
        assert max(in_flight_at_switch) >= 10
        assert sum(record.attempts - 1 for record in run.records if record.method == b"POST") == 0
    await old.__aexit__()


@pytest.mark.parametrize("idle_s", [0.02, 0.05])
@on_loop
async def test_posts_at_the_dynos_idle_boundary_do_not_fail(idle_s: float) -> None:
    """A server that closes idle connections after `idle_s`, asked again just then (contracts.md 8)."""
    rng = random.Random(7)

    async def worker() -> None:
        client = await run.client()
        for _ in range(40):
            await client.send(POST)
            assert (await client.answer()).status == 200
            await asyncio.sleep(idle_s + rng.uniform(-0.004, 0.002))

    with closing_idle(idle_s) as backend:
        async with bench(backend) as run:
            client = await run.client()  # one dyno connection is seen being closed: from then on the router knows
            await client.send(POST)
            await client.answer()
            idle = run.router._app(APP).idle
            await soon(lambda: not len(idle))
            await asyncio.gather(*(worker() for _ in range(16)))
            await soon(lambda: len(run.records) == 16 * 40 + 1)
            assert {record.status for record in run.records} == {200}


@contextlib.contextmanager
def closing_idle(idle_s: float) -> Iterator[Backend]:
    """A dyno of its own process: one in the bench's loop would decide to close long before the close can be seen."""
    argv = [sys.executable, str(TOYS / "closes_idle.py"), str(idle_s)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as dyno:
        try:
            assert dyno.stdout is not None
            port = int(dyno.stdout.readline())
            yield Backend(id="web.1", label="web.1", host="127.0.0.1", port=port)
        finally:
            dyno.terminate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked by Linux's TCP_INFO")
@on_loop
async def test_a_link_whose_answer_waited_for_the_router_is_as_old_as_its_dyno_knows_it() -> None:
    """The router was stopped for longer than the dyno keeps a connection: a POST may not go over that one again."""
    stop_s = 0.0

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.exactly(4)
        if len(backend.wires) == 1:
            await wire.send(OK)
            return  # closed at once: the router remembers after how long
        # Into the socket, and nothing turns the loop from here on: the answer is there, and nobody reads it.
        os.write(wire.writer.get_extra_info("socket").fileno(), OK)
        time.sleep(stop_s)  # noqa: ASYNC251  # it is the stop
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(POST)
        await client.answer()
        idle = run.router._app(APP).idle
        await soon(lambda: not len(idle))
        stop_s = max(0.05, idle._closed_at_age[backend.backend.id])
        for _ in range(2):
            await client.send(POST)
            assert (await client.answer()).status == 200
        assert len(backend.wires) == 3


@on_loop
async def test_connections_beyond_the_limit_wait_in_the_backlog() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, max_connections=4) as run:
        full = [await run.client() for _ in range(4)]
        for client in full:
            await client.send(GET)
            assert (await client.answer()).status == 200
        late = await run.client()
        await late.send(GET)
        for client in full:
            await client.send(GET)
            assert (await client.answer()).status == 200
        assert len(run.records) <= 8  # the late one is not served yet
        full[0].close()
        assert (await late.answer()).status == 200


@on_loop
async def test_out_of_descriptors_is_the_routers_fault_and_passes() -> None:
    answer_now = asyncio.Event()
    async with holding(answer_now) as backend, bench(backend) as run:
        client = await run.client()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(int(name) for name in descriptors()) + 1
        spare = [os.dup(0) for _ in range(used, used + 8)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
            filler = []
            while True:
                try:
                    filler.append(os.dup(0))
                except OSError:
                    break
            await client.send(GET)
            answer = await client.answer()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in (*spare, *filler):
                os.close(fd)
        assert answer.status == 503
        assert b"<title>Application Error</title>" in answer.body
        record = await run.record()
        assert format_line(record).startswith('at=error code=H99 desc="Platform error" method=GET path="/" ')
        answer_now.set()
        await client.send(GET)
        assert (await client.answer()).status == 200  # and the dyno was not blamed


@on_loop
async def test_accept_without_descriptors_neither_spins_nor_stays_broken() -> None:
    """Others of the process may use up what the router has reckoned with: accept(2) itself then fails."""
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        assert (await run.ask()).status == 200  # what the loop opens once is open
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        clients = [socket.socket() for _ in range(3)]  # made while there are descriptors
        fillers = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(name) for name in descriptors()) + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.dup(0))
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", run.port))
            used = time.process_time()
            await asyncio.sleep(0.3)  # what is tried: nothing happens, for a while
            assert time.process_time() - used < 0.2, "the loop spins"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fillers:
                os.close(fd)
            for client in clients:
                client.close()
        assert (await run.ask()).status == 200
        await soon(lambda: not run.router._connections())


@pytest.mark.parametrize("moment", ["head", "held", "connecting", "body", "waiting", "answer", "tunnel", "linger"])
@on_loop
async def test_a_client_that_vanishes_at_any_moment_leaves_nothing(moment: str) -> None:
    async def script(wire: Wire) -> None:
        head = await wire.head()
        if moment == "answer":
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        if moment == "tunnel":
            assert b"Upgrade" in head
            await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await wire.ended()

    requests = {
        "head": b"GET / HTTP/1.1\r\nHo",
        "body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        "tunnel": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        "linger": b"BAD\r\n\r\n" + b"x" * 100_000,
    }
    async with ScriptedBackend(script) as backend, bench(backend) as run:
        if moment == "held":
            run.router.set_app(APP, condition=AppCondition.PARKED)
        for _ in range(5):
            client = await run.client()
            await client.send(requests.get(moment, GET))
            if moment == "held":
                await soon(lambda: run.router.queued(APP) == 1)
            elif moment not in ("head", "linger"):
                await soon(lambda: sum(run.router.in_flight(APP).values()) + sum(run.router.tunnels(APP).values()) == 1)
            if moment in ("body", "waiting", "answer", "tunnel"):
                await backend.connections(1)
            if moment in ("answer", "tunnel"):
                await client.head()
            client.reset()
            await soon(lambda: not run.router._connections())
            run.nothing_left()
        run.router.set_app(APP, condition=AppCondition.SERVING)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="a reset is noticed late without epoll")
@on_loop
async def test_a_client_that_resets_while_its_upload_is_not_read_is_noticed() -> None:
    """Nobody reads its socket until there is a dyno for the request."""
    upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegun"
    async with bench(condition=AppCondition.PARKED) as run:
        gone, patient = await run.client(), await run.client()
        for client in (gone, patient):
            await client.send(upload)
        await soon(lambda: run.router.queued(APP) == 2)
        hangups = run.router._ready().hangups
        await soon(lambda: len(hangups) == 2)
        gone.reset()
        assert (await run.record()).code is Code.CLIENT_INTERRUPTED
        assert run.router.queued(APP) == 1
        assert len(hangups) == 1
        await patient.send(b"done")
        patient.end()  # says no more, and that is no reset
        async with ScriptedBackend(answering(OK, body=9)) as backend:
            run.router.add_backend(APP, backend.backend)
            run.router.set_app(APP, condition=AppCondition.SERVING)
            assert (await patient.answer()).status == 200
            assert len(hangups) == 0


@on_loop
async def test_nothing_is_left_when_the_router_has_shut_down() -> None:
    async def round_trip() -> None:
        async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
            for _ in range(20):
                await run.ask()

    await round_trip()  # the loop opens descriptors of its own at the first accept
    gc.collect()
    before = open_descriptors()
    tasks = len(asyncio.all_tasks())
    await round_trip()
    await soon(lambda: open_descriptors() <= before)
    assert len(asyncio.all_tasks()) == tasks
