"""Health probes against real servers and real commands: what passes, and whether a failure says what to change."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
import uvloop

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import Address
from dynod.core.healthcheck import Failed, Outcome, Passed, Target, Verdict, line
from dynod.keeper.client import Events, KeeperClient
from dynod.keeper.features import detect
from dynod.process.boot_watch import SocketTable
from dynod.process.check_commands import MARK, CheckCommands, Place, is_check_note
from dynod.process.probes import CommandResult, HealthWatch, Prober
from support import installed, processes
from support.keeper import Core, KeeperRun
from support.source_tree import REPOSITORY

TOYS = REPOSITORY / "tests/toys"
INSTANCE = "0c2d7a1e-4b1f-4f0e-9f7a-1d2b3c4d5e6f"
Result = TypeVar("Result")


class Server(NamedTuple):
    """A toy that listens."""

    pid: int
    port: int
    host: str = "127.0.0.1"

    @property
    def target(self) -> Target:
        return Target(
            instance_id=INSTANCE,
            name="web.1",
            port=self.port,
            address=Address(self.host, self.port),
            launched=0.0,
        )


@contextlib.contextmanager
def serving(toy: str, *, python: str = sys.executable, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    command = [python, str(TOYS / toy)]
    environment = {"PATH": os.environ["PATH"], **(env or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            found = re.search(r"listening on (\d+)", child.stdout.readline())
            assert found, f"{toy} did not listen"
            yield Server(child.pid, int(found[1]))
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def healthy() -> Iterator[Server]:
    with serving("healthy.py") as server:
        yield server


class NoCommands:
    async def run_command(self, instance_id: str, argv: Sequence[str], timeout_s: float) -> CommandResult:
        raise AssertionError((instance_id, argv, timeout_s))


def on_uvloop(work: Callable[[], Awaitable[Result]]) -> Result:
    """On the loop of production."""

    async def main() -> Result:
        return await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@contextlib.asynccontextmanager
async def prober(server: Server, *, host: str = "localhost") -> AsyncIterator[Prober]:
    by_netlink = detect(os.environ).netlink
    table = SocketTable(lambda ids: {id_: [server.pid] for id_ in ids}, by_netlink=by_netlink)
    made = Prober(listening=table, commands=NoCommands(), host=host, clock=asyncio.get_running_loop().time)
    try:
        yield made
    finally:
        await made.close()


def probe(server: Server, check: Healthcheck, *, host: str = "localhost") -> Outcome:
    async def work() -> Outcome:
        async with prober(server, host=host) as asking:
            return await asking.probe(check, server.target)

    return on_uvloop(work)


def reason(server: Server, check: Healthcheck, *, host: str = "localhost") -> str:
    outcome = probe(server, check, host=host)
    assert isinstance(outcome, Failed), "it passed"
    return outcome.reason


def get(path: str, *, content: str | None = None, port: int | None = None, timeout_s: int = 5) -> Healthcheck:
    return Healthcheck(kind="startup", path=path, content=content, port=port, timeout_s=timeout_s)


@pytest.mark.parametrize(
    "check",
    [
        get("/ok"),
        get("ok"),
        get("/ok?deep=1&x=%20"),
        get("/ok", content="all is well"),
        get("/ok", port=5000),  # dokku's PORT
        get("/redirect"),
        get("/status/204"),
        get("/stream"),  # passes by its head: the body never ends
        get("/stream", content="hello world"),  # found in two pieces, long before the end
        Healthcheck(kind="startup", listening=True),
        Healthcheck(kind="startup", uptime_s=1),  # launched at 0 of the loop's clock
    ],
    ids=str,
)
def test_these_pass(healthy: Server, check: Healthcheck) -> None:
    assert probe(healthy, check) == Passed()


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (get("/status/503"), 'answered 503: "database is down"'),
        (get("/status/404"), "answered 404: is the path right?"),
        (get("/ok", content="welcome"), 'answered 200 without "welcome"'),
        (get("/redirect", content="x"), 'answered 302 without "x" (a redirect to /login, which is not followed)'),
        (get("/close"), "closed the connection without an answer (asked 127.0.0.1:PORT)"),
        (get("/large", content="the end"), 'answered 200 without "the end"'),  # only a megabyte is searched
        (get("/silent", timeout_s=1), "gave no answer within 1 s (asked 127.0.0.1:PORT)"),
        (get("/slow", timeout_s=1), "answered 500, but its body did not end within 1 s"),
    ],
    ids=str,
)
def test_these_fail_and_say_why(healthy: Server, check: Healthcheck, why: str) -> None:
    assert reason(healthy, check) == why.replace("PORT", str(healthy.port))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_a_dyno_on_ipv6_alone_is_reached() -> None:
    with serving("healthy.py", env={"HOST": "::1"}) as served:
        server = served._replace(host="::1")
        assert probe(server, get("/ok", content="all is well")) == Passed()
        assert probe(server, Healthcheck(kind="startup", listening=True)) == Passed()


def test_what_is_not_http_is_called_so(healthy: Server) -> None:
    assert reason(healthy, get("/garbage")).startswith("answered something that is not HTTP")


def test_a_redirect_to_https_names_djangos_setting(healthy: Server) -> None:
    why = reason(healthy, get("/to-https"), host="demo.localhost")
    assert why.startswith("answered 301, a redirect to https")
    assert "SECURE_SSL_REDIRECT" in why


def test_a_refused_host_names_the_setting_and_the_check_can_choose_another(healthy: Server) -> None:
    assert 'add "demo.localhost" to ALLOWED_HOSTS' in reason(healthy, get("/host"), host="demo.localhost")
    assert probe(healthy, get("/host"), host="demo.example") == Passed()
    own = Healthcheck(kind="startup", path="/host", headers=(("host", "demo.example"),))
    assert probe(healthy, own, host="demo.localhost") == Passed()


@pytest.mark.parametrize(
    "field",
    [
        "Host: demo.localhost\r\n",
        "X-Forwarded-Proto: https\r\n",
        "User-Agent: dynod-healthcheck\r\n",
        "Accept-Encoding: identity\r\n",
    ],
)
def test_a_probe_comes_as_a_request_from_the_router_would(healthy: Server, field: str) -> None:
    assert probe(healthy, get("/headers", content=field), host="demo.localhost") == Passed()


def test_a_checks_own_fields_replace_the_usual_ones_and_come_once(healthy: Server) -> None:
    headers = (("x-forwarded-proto", "http"), ("X-Probe", "yes"))
    check = Healthcheck(kind="startup", path="/headers", headers=headers, content="x-forwarded-proto: http\r\n")
    assert probe(healthy, check) == Passed()
    again = Healthcheck(kind="startup", path="/headers", headers=headers, content="X-Forwarded-Proto: https")
    assert isinstance(probe(healthy, again), Failed)


@pytest.mark.parametrize(
    "check",
    [
        Healthcheck(kind="startup", path="/ok", headers=(("X-Bad", "a\r\nEvil: b"),)),
        Healthcheck(kind="startup", path="/ok", scheme="gopher"),
    ],
    ids=["header", "scheme"],
)
def test_a_check_that_no_request_can_hold_fails_as_such(healthy: Server, check: Healthcheck) -> None:
    assert reason(healthy, check).startswith("cannot be asked")


def test_a_refused_connection_says_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = int(listener.getsockname()[1])
    server = Server(os.getpid(), free)
    assert reason(server, get("/")) == f"was refused: nothing listens on 127.0.0.1:{free}"


def test_a_port_of_its_own_that_nobody_opened_names_the_dynos_port(healthy: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = int(listener.getsockname()[1])
    why = reason(healthy, get("/ok", port=free))
    assert why == f"was refused: nothing listens on 127.0.0.1:{free}; the dyno's PORT is {healthy.port}"


def test_listening_elsewhere_says_where(healthy: Server) -> None:
    why = reason(healthy, Healthcheck(kind="startup", listening=True, port=1))
    assert why == f"found nothing on port 1; the dyno listens on 127.0.0.1:{healthy.port}"


def test_many_probes_at_once_all_come_back(healthy: Server) -> None:
    async def work() -> list[Outcome]:
        async with prober(healthy) as asking:
            checks = [get("/ok", content="well") for _ in range(300)]
            return await asyncio.gather(*(asking.probe(check, healthy.target) for check in checks))

    assert on_uvloop(work) == [Passed()] * 300


def test_a_cancelled_probe_leaves_no_connection(healthy: Server) -> None:
    async def work() -> None:
        async with prober(healthy) as asking:
            task = asyncio.create_task(asking.probe(get("/silent", timeout_s=60), healthy.target))
            while not connections_to(healthy.port):  # noqa: ASYNC110 (the kernel announces no connection)
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(10):
                while connections_to(healthy.port):  # noqa: ASYNC110 (the kernel announces no connection)
                    await asyncio.sleep(0)

    on_uvloop(work)


def connections_to(port: int) -> int:
    """Established connections of this process to a local port."""
    own = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    count = 0
    for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = entry.split()
        count += fields[2].endswith(f":{port:04X}") and fields[3] == "01" and f"socket:[{fields[9]}]" in own
    return count


class TestDjango:
    """The real one, whose pages the hints are made for."""

    @staticmethod
    def serving(**env: str) -> contextlib.AbstractContextManager[Server]:
        python = installed.django_folder() / ".venv/bin/python"
        return serving("django_guarded.py", python=str(python), env=env)

    @pytest.mark.parametrize("debug", ["0", "1"])
    def test_refuses_a_host_and_the_probe_says_so(self, debug: str) -> None:
        with self.serving(ALLOWED_HOSTS="shop.example", DEBUG=debug) as server:
            why = reason(server, get("/health"), host="demo.localhost")
            assert why.startswith("answered 400: ")
            assert "Django" in why
            assert 'add "demo.localhost" to ALLOWED_HOSTS' in why
            assert probe(server, get("/health", content="all is well"), host="shop.example") == Passed()

    def test_redirects_to_https_unless_it_trusts_its_router(self) -> None:
        with self.serving(ALLOWED_HOSTS="*", SSL_REDIRECT="1") as server:
            assert "SECURE_PROXY_SSL_HEADER" in reason(server, get("/health"))
        with self.serving(ALLOWED_HOSTS="*", SSL_REDIRECT="1", SSL_TRUSTS="1") as server:
            assert probe(server, get("/health", content="all is well")) == Passed()


def test_a_watch_over_a_real_server_that_goes_away() -> None:
    """Up, ready, then killed: out of the pool and unhealthy, each once, with the reason."""

    async def work() -> list[Verdict]:
        loop = asyncio.get_running_loop()
        said: list[Verdict] = []
        with serving("healthy.py") as server:
            heard = asyncio.Event()

            def hear(verdict: Verdict) -> None:
                said.append(verdict)
                heard.set()

            async def until(count: int) -> None:
                async with asyncio.timeout(30):
                    while len(said) < count:
                        heard.clear()
                        await heard.wait()

            checks = [
                Healthcheck(kind="startup", listening=True),
                Healthcheck(kind="readiness", path="/ok", attempts=1, wait_s=1),
                Healthcheck(kind="liveness", path="/ok", attempts=2, wait_s=1),
            ]
            async with prober(server) as asking, asyncio.TaskGroup() as group:
                watch = HealthWatch(asking, clock=loop.time)
                task = group.create_task(watch.run(server.target, checks, hear))
                await until(2)
                os.kill(server.pid, signal.SIGTERM)
                await until(4)
                task.cancel()
        return said

    said = on_uvloop(work)
    assert [type(verdict).__name__ for verdict in said] == ["Started", "Ready", "NotReady", "Unhealthy"]
    assert "nothing listens on 127.0.0.1" in (line(said[2]) or "")


# --- commands ---------------------------------------------------------------------------------------------------------


class Launched(NamedTuple):
    pid: int
    started_at: float
    output: int
    input: int | None = None


@dataclass
class LocalPlacement:
    """A placement that starts real children of the test, and tells their end as the keeper does."""

    commands: CheckCommands | None = None
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    waits: list[asyncio.Task[None]] = field(default_factory=list)

    async def launch(
        self,
        *,
        instance_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        marks: Sequence[str],
        stop_signal: int,
        grace_s: float,
        state: str,
        terminal: tuple[int, int] | None = None,
        stdin: bool = False,
        watches: bool = False,
        owner: tuple[int, int] | None = None,
        shown_as: tuple[str, str] | None = None,
        files: Sequence[int] = (),
        limits: Mapping[str, int] | None = None,
        as_owner: bool = False,
        confined: bool = False,
        filtered: bool = False,
    ) -> Launched:
        assert terminal is None
        assert not stdin
        assert (watches, as_owner, confined, owner, shown_as, limits) == (False, False, False, None, None, None)
        assert not files
        assert not filtered
        assert stop_signal == signal.SIGKILL
        assert grace_s == 0
        assert all(mark in [f"{key}={value}" for key, value in env.items()] for mark in marks)
        reading, writing = os.pipe()
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 (a keeper's fork blocks nobody longer)
                argv, env=env, cwd=cwd, stdout=writing, stderr=writing, start_new_session=True
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.notes.append(state)
        self.children[instance_id] = child
        self.waits.append(asyncio.create_task(self._see_out(instance_id, child)))
        return Launched(child.pid, 0.0, reading)

    async def _see_out(self, instance_id: str, child: subprocess.Popen[bytes]) -> None:
        code = await asyncio.to_thread(child.wait)
        assert self.commands is not None
        assert self.commands.exited(instance_id, code)
        assert self.commands.gone(instance_id)
        assert not self.commands.gone(instance_id)

    def stop(self, instance_id: str, *, number: int, grace_s: float) -> None:
        assert grace_s == 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.children[instance_id].pid, number)

    def set_state(self, instance_id: str, state: str) -> None:
        raise AssertionError((instance_id, state))

    def forget(self, instance_id: str) -> None:
        self.forgotten.append(instance_id)

    def put(self, key: str, value: str | None) -> None:
        raise AssertionError((key, value))

    def send_signal(self, instance_id: str, number: int) -> None:
        raise AssertionError((instance_id, number))

    def end_input(self, instance_id: str) -> None:
        raise AssertionError(instance_id)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run_check(
    command: Sequence[str], cwd: Path, *, timeout_s: int = 20, gone: bool = False
) -> tuple[Outcome, LocalPlacement]:
    """A command check, whole; afterwards nothing of it may be left."""

    async def work() -> tuple[Outcome, LocalPlacement]:
        placement = LocalPlacement()
        env = {"PATH": "/usr/bin:/bin", "DYNO": "web.1", "PORT": "20017"}
        commands = CheckCommands(placement, lambda _id: None if gone else Place(str(cwd), env))
        placement.commands = commands
        table = SocketTable(lambda ids: {id_: [] for id_ in ids}, by_netlink=True)
        asking = Prober(listening=table, commands=commands, host="x", clock=asyncio.get_running_loop().time)
        before = descriptors()
        check = Healthcheck(kind="startup", command=tuple(command), timeout_s=timeout_s)
        outcome = await asking.probe(check, Server(0, 20017).target)
        await asyncio.gather(*placement.waits)
        assert descriptors() == before
        await asking.close()
        return outcome, placement

    return on_uvloop(work)


def test_a_command_that_exits_0_passes_and_is_forgotten(tmp_path: Path) -> None:
    outcome, placement = run_check(["true"], tmp_path)
    assert outcome == Passed()
    assert placement.forgotten == list(placement.children)
    assert [is_check_note(note) for note in placement.notes] == [True]


def test_a_command_runs_in_the_dynos_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    script = f'test -f here && test "$DYNO $PORT" = "web.1 20017" && test -n "${MARK}"'
    assert run_check(["sh", "-c", script], tmp_path)[0] == Passed()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "echo checking; echo queue is full >&2; exit 3"], 'exited with status 3: "queue is full"'),
        (["sh", "-c", "exit 1"], "exited with status 1"),
        (["sh", "-c", "printf '\\033[31mred\\007'; exit 1"], 'exited with status 1: "[31mred"'),
        (["sh", "-c", "kill -9 $$"], "exited with status 137"),
        (["no-such-program-anywhere"], "could not be started: No such file or directory"),
    ],
)
def test_a_command_that_fails_says_its_status_and_last_words(tmp_path: Path, command: list[str], why: str) -> None:
    assert run_check(command, tmp_path)[0] == Failed(why)


def test_a_command_that_never_ends_is_ended_with_all_it_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    outcome, placement = run_check(["sh", "-c", "echo waiting; cat gate & cat gate"], tmp_path, timeout_s=1)
    assert outcome == Failed('was not done within 1 s: "waiting"')
    (child,) = placement.children.values()
    assert child.returncode == -signal.SIGKILL


def test_a_command_that_floods_is_read_and_its_last_words_kept(tmp_path: Path) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last words; exit 1"
    assert run_check(["sh", "-c", script], tmp_path)[0] == Failed('exited with status 1: "last words"')


def test_a_command_for_a_dyno_that_has_ended_is_not_run(tmp_path: Path) -> None:
    outcome, placement = run_check(["true"], tmp_path, gone=True)
    assert outcome == Failed("could not be started: the dyno has ended")
    assert not placement.children


def test_what_another_instance_noted_is_no_check() -> None:
    assert not is_check_note('{"name": "web.1", "port": 20017}')


@pytest.mark.parametrize("without", ["", "cgroup"])
def test_the_keeper_ends_a_check_with_all_its_children_and_leaves_its_dyno_alone(tmp_path: Path, without: str) -> None:
    """Both have DYNO and PORT in their environment, by which the keeper knows orphans again."""
    for gate in ("dyno", "check"):
        os.mkfifo(tmp_path / gate)

    def waiting(keeper: KeeperRun) -> list[str]:
        return sorted(process.command[1] for process in processes.marked(keeper.mark) if process.command[0] == "cat")

    async def work(keeper: KeeperRun, core: Core) -> Outcome:
        loop = asyncio.get_running_loop()
        env = {"PATH": "/usr/bin:/bin", "DYNO": "web.1", "PORT": str(os.getpid()), processes.MARK: keeper.mark}
        client = KeeperClient(os.dup(core._channel.fileno()), loop)
        commands = CheckCommands(client, lambda _id: Place(str(tmp_path), env))
        check_gone, dyno_gone = asyncio.Event(), asyncio.Event()

        def exited(instance_id: str, exit_code: int, _at: float) -> None:
            commands.exited(instance_id, exit_code)

        def gone(instance_id: str) -> None:
            (check_gone if commands.gone(instance_id) else dyno_gone).set()

        client.listen(
            Events(
                exited=exited,
                killed=lambda _id, _left: None,
                gone=gone,
                signalled=lambda _number: None,
                lost=lambda: None,
            )
        )
        dyno = await client.launch(
            instance_id=INSTANCE,
            argv=["sh", "-c", "(setsid cat dyno &) ; echo up; exec cat dyno"],
            env=env,
            cwd=str(tmp_path),
            marks=["DYNO=web.1", f"PORT={os.getpid()}"],
            stop_signal=signal.SIGTERM,
            grace_s=30.0,
            state="{}",
        )
        assert await asyncio.to_thread(os.read, dyno.output, 10) == b"up\n"
        os.close(dyno.output)
        table = SocketTable(lambda ids: {id_: [] for id_ in ids}, by_netlink=True)
        asking = Prober(listening=table, commands=commands, host="x", clock=loop.time)
        command = ("sh", "-c", "(setsid cat check &) ; echo checking; exec cat check")
        outcome = await asking.probe(Healthcheck(kind="startup", command=command, timeout_s=1), Server(0, 20017).target)
        async with asyncio.timeout(30):
            await check_gone.wait()
            assert waiting(keeper) == ["dyno", "dyno"]
            assert not dyno_gone.is_set()
            client.stop(INSTANCE, number=signal.SIGKILL, grace_s=0.0)
            await dyno_gone.wait()
            assert waiting(keeper) == []
        client.forget(INSTANCE)
        await asking.close()
        client.close()
        return outcome

    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = keeper.next_core()
        core.be_ready()
        assert on_uvloop(lambda: work(keeper, core)) == Failed('was not done within 1 s: "checking"')
