"""Which app, which dyno: Host, balance, affinity, retries, quarantine, the PROXY protocol."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from integration.router.bench import APP, GET, OK, ScriptedBackend, Wire, answering, bench, closed_port, on_loop, soon

from router import AppCondition, Backend, Balance, Code


def named(label: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(label), label.encode())


@on_loop
async def test_apps_are_told_apart_by_host() -> None:
    async with (
        ScriptedBackend(answering(named("one"))) as one,
        ScriptedBackend(answering(named("two"))) as two,
        bench() as run,
    ):
        run.router.set_default_app(None)
        run.router.set_app("one", condition=AppCondition.SERVING, hosts=["one.test", "WWW.One.Test."])
        run.router.set_app("two", condition=AppCondition.SERVING, hosts=["*.two.test"])
        run.router.add_backend("one", one.backend)
        run.router.add_backend("two", two.backend)
        expected = {
            b"one.test": b"one",
            b"ONE.test:8080": b"one",
            b"one.test.": b"one",
            b"www.one.test": b"one",
            b"a.two.test": b"two",
            b"a.b.two.test": b"two",
        }
        for host, body in expected.items():
            assert (await run.ask(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")).body == body, host
        for host in (b"two.test", b"three.test", b"[::1]:80", b"127.0.0.1"):
            answer = await run.ask(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert answer.status == 404
            assert b"<title>No such app</title>" in answer.body
            assert b"one.test" in answer.body  # a client on this machine is told what there is
        forwarded = await run.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
        assert b"one.test" not in forwarded.body  # one from elsewhere is not
        run.router.set_default_app("two")
        assert (await run.ask(b"GET / HTTP/1.1\r\nHost: three.test\r\n\r\n")).body == b"two"


@on_loop
async def test_a_removed_apps_waiting_requests_are_answered() -> None:
    async with bench(condition=AppCondition.BOOTING) as run:
        client = await run.client()
        await client.send(GET)
        await soon(lambda: run.router.queued(APP) >= 1)
        run.router.remove_app(APP)
        assert (await client.answer()).status == 502
        assert (await run.ask()).status == 404
        run.router.set_app(APP, condition=AppCondition.SERVING)


@on_loop
async def test_the_less_busy_dyno_gets_the_request() -> None:
    answer_now = asyncio.Event()

    def holding(label: str) -> ScriptedBackend:
        async def script(wire: Wire) -> None:
            while True:
                await wire.head()
                await answer_now.wait()
                await wire.send(named(label))

        return ScriptedBackend(script, label)

    async with holding("web.1") as one, holding("web.2") as two, bench(one, two) as run:
        clients = [await run.client() for _ in range(20)]
        for client in clients:
            await client.send(GET)
        await soon(lambda: sum(run.router.in_flight(APP).values()) >= 20)
        assert set(run.router.in_flight(APP).values()) == {10}  # of two, P2C always sees both
        answer_now.set()
        for client in clients:
            await client.answer()


@on_loop
async def test_random_balance_uses_every_dyno() -> None:
    async with (
        ScriptedBackend(answering(named("1")), "web.1") as one,
        ScriptedBackend(answering(named("2")), "web.2") as two,
        bench(one, two, balance=Balance.RANDOM) as run,
    ):
        bodies = Counter([(await run.ask()).body for _ in range(64)])
        assert set(bodies) == {b"1", b"2"}


@on_loop
async def test_session_affinity_pins_a_client_and_pins_it_anew() -> None:
    async with (
        ScriptedBackend(answering(named("web.1")), "web.1") as one,
        ScriptedBackend(answering(named("web.2")), "web.2") as two,
        bench(one, two, session_affinity=True) as run,
    ):
        first = await run.ask()
        cookie = (first.get("set-cookie") or "").partition(";")[0]
        assert cookie.startswith("heroku-session-affinity=")
        pinned = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; %b\r\n\r\n" % cookie.encode()
        for _ in range(20):
            again = await run.ask(pinned)
            assert (again.body, again.get("set-cookie")) == (first.body, None)
        gone = one if first.body == b"web.1" else two
        run.router.remove_backend(APP, gone.backend.id)
        moved = await run.ask(pinned)
        assert moved.body != first.body
        assert (moved.get("set-cookie") or "").startswith("heroku-session-affinity=")
        forged = pinned.replace(cookie[-4:].encode(), b"AAAA")
        assert (await run.ask(forged)).get("set-cookie") is not None


@on_loop
async def test_an_idempotent_request_without_answer_is_tried_once_more_elsewhere() -> None:
    async def mute(wire: Wire) -> None:
        await wire.head()

    async with (
        ScriptedBackend(mute, "web.1") as bad,
        ScriptedBackend(answering(named("good")), "web.2") as good,
        bench(bad, good) as run,
    ):
        for _ in range(10):
            assert (await run.ask()).body == b"good"
        await run.record(10)
        assert all(record.dyno == b"web.2" for record in run.records)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"FOO"])
@on_loop
async def test_a_request_that_may_have_had_effects_is_never_sent_twice(method: bytes) -> None:
    seen = 0

    async def mute(wire: Wire) -> None:
        nonlocal seen
        await wire.head()
        seen += 1

    async with ScriptedBackend(mute, "web.1") as one, ScriptedBackend(mute, "web.2") as two, bench(one, two) as run:
        for number in range(1, 6):
            answer = await run.ask(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert answer.status == 503
            assert seen == number
        await run.record(5)
        assert {record.code for record in run.records} == {Code.NO_RESPONSE}


@on_loop
async def test_a_body_is_never_sent_twice_although_the_method_is_idempotent() -> None:
    async def mute(wire: Wire) -> None:
        await wire.head()
        await wire.exactly(4)

    async with ScriptedBackend(mute, "web.1") as one, ScriptedBackend(mute, "web.2") as two, bench(one, two) as run:
        assert (await run.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")).status == 503
        assert (await run.record()).attempts == 1


@on_loop
async def test_retries_stop_when_the_budget_is_used_up() -> None:
    async def mute(wire: Wire) -> None:
        await wire.head()

    async with (
        ScriptedBackend(mute, "web.1") as one,
        ScriptedBackend(mute, "web.2") as two,
        bench(one, two, retry_share=0.0) as run,
    ):
        for _ in range(25):
            await run.ask()
            for backend in (one.backend, two.backend):  # new every time: no quarantine
                run.router.remove_backend(APP, backend.id)
                run.router.add_backend(APP, backend)
        await run.record(25)
        assert sum(record.attempts - 1 for record in run.records) == 20
        assert run.records[-1].attempts == 1


@on_loop
async def test_a_dyno_that_keeps_breaking_is_put_aside() -> None:
    async def mute(wire: Wire) -> None:
        await wire.head()

    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    async with (
        ScriptedBackend(mute, "web.1") as bad,
        ScriptedBackend(answering(OK), "web.2") as good,
        bench(bad, good) as run,
    ):
        while len(bad.wires) < 5:
            await run.ask(post)
        for _ in range(20):
            assert (await run.ask(post)).status == 200


@on_loop
async def test_a_dyno_that_closes_idle_connections_costs_no_request() -> None:
    served = asyncio.Event()

    async def once(wire: Wire) -> None:
        await wire.head()
        await wire.send(OK)
        served.set()

    async with ScriptedBackend(once) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(100):
            served.clear()
            await client.send(GET)
            assert (await client.answer()).body == b"hello"
            await served.wait()
        await run.record(100)
        assert {record.status for record in run.records} == {200}


@on_loop
async def test_the_proxy_line_names_the_client() -> None:
    line = b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n"
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, proxy_protocol=True) as run:
        for cut in range(len(line) + 4):
            client = await run.client()
            await client.send_split(line + GET, cut)
            assert (await client.answer()).status == 200
        sent = backend.wires[-1].got
        assert b"\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n" in sent
        record = await run.record(len(line) + 4)
        assert (record.fwd, record.protocol) == (b"203.0.113.7", "https")


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 65536\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 +80\r\n",
        b"PROXY  TCP4 203.0.113.7 192.0.2.1 51000 80\r\n",
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY " + b"x" * 120,
    ],
)
@on_loop
async def test_without_a_good_proxy_line_there_is_no_service(line: bytes) -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, proxy_protocol=True) as run:
        client = await run.client()
        await client.send(line)
        await client.ended()
        assert client.got == b""
        assert not backend.wires


@on_loop
async def test_a_stranger_may_not_use_the_proxy_protocol() -> None:
    async with (
        ScriptedBackend(answering(OK)) as backend,
        bench(backend, proxy_protocol=True, trusted_proxies=()) as run,
    ):
        assert (await run.ask(GET)).status == 200
        assert (await run.ask(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 443\r\n" + GET)).status == 400


@on_loop
async def test_settings_are_per_app() -> None:
    async def mute(wire: Wire) -> None:
        await wire.head()
        await wire.ended()

    async with ScriptedBackend(mute) as backend, bench(backend) as run:
        settings = replace(run.router._settings, first_byte_timeout_s=0.05, max_body=3)
        run.router.set_app(APP, condition=AppCondition.SERVING, settings=settings)
        assert (await run.ask()).status == 503
        assert (await run.record()).code is Code.REQUEST_TIMEOUT
        assert (await run.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")).status == 413


@on_loop
async def test_a_request_has_a_deadline_over_all() -> None:
    async def dripping(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await wire.send(b"x")
            await asyncio.sleep(0.02)

    async with ScriptedBackend(dripping) as backend, bench(backend, request_deadline_s=0.2) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        await client.ended()
        assert (await run.record()).code is Code.REQUEST_TIMEOUT


@on_loop
async def test_a_fresh_dyno_is_eased_in() -> None:
    async with (
        ScriptedBackend(answering(named("old")), "web.1") as old,
        ScriptedBackend(answering(named("new")), "web.2") as new,
        bench(old, slow_start_s=3600.0) as run,
    ):
        run.router.add_backend(APP, new.backend)
        bodies = Counter([(await run.ask()).body for _ in range(50)])
        assert bodies == {b"old": 50}  # one at a time, the old one never looks ten times as busy


@on_loop
async def test_nowhere_is_not_asked_again_and_again() -> None:
    nowhere = Backend(id="n", label="web.2", host="127.0.0.1", port=closed_port())
    async with ScriptedBackend(answering(OK), "web.1") as good, bench(good, nowhere) as run:
        for _ in range(40):
            assert (await run.ask()).status == 200
        await run.record(40)
        assert sum(record.attempts - 1 for record in run.records) <= 1


@on_loop
async def test_a_stale_connection_is_followed_by_a_fresh_one_not_by_the_next_stale_one() -> None:
    together = asyncio.Barrier(5)

    async def once(wire: Wire) -> None:
        await wire.head()
        if len(backend.wires) <= 5:
            await together.wait()
            await wire.send(OK)
            await wire.head()  # the next request on it is taken and not answered
            return
        await wire.send(OK)
        await wire.ended()

    async with ScriptedBackend(once) as backend, bench(backend) as run:
        clients = [await run.client() for _ in range(5)]
        for client in clients:
            await client.send(GET)
        for client in clients:
            assert (await client.answer()).status == 200
        await run.record(5)
        assert (await run.ask()).body == b"hello"
        record = await run.record(6)
        assert (record.attempts, record.status) == (2, 200)
        assert len(backend.wires) == 6
        assert run.router._app(APP).budget.take(), "a closed idle connection is no failure of the dyno"
