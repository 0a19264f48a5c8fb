"""`dynod logs` and drains of the real `dynod serve` and `dynod up`: kills of the core, restarts, unkind receivers."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from dynod.logs.pump import LOOK_BYTES
from dynod.platform_api.http_connection import UnixConnection
from support.abilities import in_hand
from support.app_folder import app_folder, toy
from support.counts import rounds
from support.log_receivers import Certificates, HttpReceiver, Post, TcpReceiver, certificates, status, unframe
from support.serve import Serve, ServedApp
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(180)

COUNT: Final = 20_000
MOST_IN_HAND: Final = LOOK_BYTES // len("number 1000\n")  # what a pump takes out of a pipe at once
NUMBER: Final = re.compile(r"app\[?\s?(?:worker\.1)\]?:? (?:- )*number (\d+)$", re.MULTILINE)
SECRET: Final = "hunter2-in-the-url"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serve(tmp_path: Path, authority: Certificates) -> Iterator[Serve]:
    with Serve(tmp_path / "state", env={"SSL_CERT_FILE": os.fspath(authority.authority)}) as running:
        running.wait_until_ready()
        yield running


def counting(serve: Serve, parent: Path, count: int, pause_s: float = 0.005, gate: Path | None = None) -> ServedApp:
    """An app with a worker, not yet running, that counts; by as many as `gate` is told, where there is one."""
    procfile = {"worker": f"{toy('counts_to')} {count} {pause_s} {gate or ''}"}
    return serve.app(parent, "shop", procfile=procfile, quantities={"worker": 0})


def numbers(text: str) -> list[int]:
    return [int(found) for found in NUMBER.findall(text)]


def of_messages(messages: list[bytes]) -> list[int]:
    return numbers("".join(message.decode() for message in messages))


def kill_cores(serve: Serve | Up, times: int, between: object) -> None:
    core = serve.core_pid()
    for _ in range(times):
        assert callable(between)
        between()
        os.kill(core, signal.SIGKILL)
        core = serve.core_pid(other_than=core)


def drain_health(serve: Serve) -> list[dict[str, int]]:
    return [drain["dynod"] for drain in json.loads(serve.done("drains", "--json").stdout)]


# --- drains -----------------------------------------------------------------------------------------------------------


def test_no_line_is_lost_to_drains_over_kills_of_the_core(
    serve: Serve, tmp_path: Path, authority: Certificates
) -> None:
    """Numbered lines, an HTTPS and a syslog receiver, five kills: all arrive, none is dropped."""
    os.mkfifo(tmp_path / "gate")
    shop = counting(serve, tmp_path, COUNT, gate=tmp_path / "gate")
    with (
        HttpReceiver(context=authority.server()) as https,
        TcpReceiver() as tcp,
        os.fdopen(os.open(tmp_path / "gate", os.O_RDWR), "w") as gate,
    ):
        serve.done("drains:add", f"https://user:{SECRET}@localhost:{https.port}/logs")
        serve.done("drains:add", f"syslog://localhost:{tcp.port}")
        shop.scale("worker=1")

        def some_more() -> None:
            """A core is killed while a portion is on its way, however long the ones before it took."""
            seen = len(https.posts)
            print(COUNT // 5, file=gate, flush=True)
            https.wait_for(lambda posts: len(posts) > seen)

        kill_cores(serve, 5, some_more)
        last = b"number %d\n" % (COUNT - 1)
        https.wait_for(lambda posts: any(last in post.body for post in reversed(posts)), 60.0)
        tcp.wait_for(lambda: last in tcp.data)
        written = set(numbers("\n".join(shop.log())))
        assert written <= set(range(COUNT))
        assert len(written) >= COUNT - in_hand(5 * MOST_IN_HAND)
        assert set(of_messages(https.messages)) == written
        assert set(of_messages(unframe_whole(tcp))) == written
        for health in drain_health(serve):
            assert health["dropped"] == 0
    once = {post.headers["Logplex-Frame-Id"]: post for post in https.posts}
    history = numbers("\n".join(shop.log()))
    received = [number for post in once.values() for number in of_messages(post.messages)]
    assert received == history[: len(received)], "what the history has, in its order"
    assert SECRET not in serve.done("drains", "--json").stdout + serve.done("logs", "-n", "1500").stdout
    assert SECRET not in str(serve.output)


def unframe_whole(receiver: TcpReceiver) -> list[bytes]:
    """Frames of all connections. One that a kill has cut is followed by the beginning of the next."""
    found: list[bytes] = []
    for piece in re.split(rb"(?=\b\d+ <\d+>1 )", receiver.data):
        if piece:
            length, _, rest = piece.partition(b" ")
            if len(rest) == int(length):
                found += unframe(piece)
    return found


def test_a_drain_goes_on_where_it_was_after_a_restart_of_dynod(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with HttpReceiver() as receiver:
        port = receiver.port
        with Serve(state) as serve:
            shop = counting(serve, tmp_path, 1000)
            serve.done("drains:add", f"http://localhost:{port}/logs")
            shop.scale("worker=1")
            shop.wait_for_log(r"number 999$")
            receiver.wait_for(lambda posts: any(b"number 999\n" in post.body for post in posts))
            mark = serve.mark
    with Serve(state, mark=mark) as serve:  # nobody listens at the drain's address now
        serve.wait_until_ready()
        serve.known_app("shop").wait_for_log(r"number 999$", count=2)
        with HttpReceiver(port=port) as again:
            again.wait_for(lambda posts: any(b"number 999\n" in post.body for post in posts))
            received = again.messages
        assert of_messages(received) == list(range(1000))
        assert not any(b"Error L10" in message for message in received)


def test_a_certificate_that_is_not_trusted_is_named_in_the_log(serve: Serve, tmp_path: Path) -> None:
    stranger = certificates(tmp_path / "stranger")
    shop = counting(serve, tmp_path, 10)
    with TcpReceiver(context=stranger.server()) as receiver:
        serve.done("drains:add", f"syslog+tls://localhost:{receiver.port}")
        shop.wait_for_log(
            rf'^heroku\[logplex\]: Error L14 \(certificate validation\): error="bad certificate" '
            rf'uri="syslog\+tls://localhost:{receiver.port}"$'
        )
        tested = serve.dynod("drains:test")
        assert tested.returncode == 1
        assert "not delivered: certificate: " in tested.stderr
        assert receiver.data == b""


def test_what_an_unkind_receiver_costs_is_told_to_it_alone(serve: Serve, tmp_path: Path) -> None:
    def answer(number: int, _post: Post) -> bytes:
        return status(400) if number <= 3 else status(200)

    shop = counting(serve, tmp_path, 3000)
    with HttpReceiver(answer) as unkind, HttpReceiver() as kind:
        for receiver in (unkind, kind):
            serve.done("drains:add", f"http://localhost:{receiver.port}/")
        shop.scale("worker=1")
        for receiver in (unkind, kind):
            receiver.wait_for(lambda posts: any(b"number 2999\n" in post.body for post in posts))
        health = {drain["url"]: drain["dynod"] for drain in json.loads(serve.done("drains", "--json").stdout)}
        lost = health[f"http://localhost:{unkind.port}/"]["dropped"]
        assert lost > 0
        taken = [message for post in unkind.posts[3:] for message in post.messages]
        told = [int(found) for found in re.findall(rb"Error L10 .*?: (\d+) messages dropped", b"".join(taken))]
        refused = [message for post in unkind.posts[:3] for message in post.messages]
        assert sum(told) == lost == sum(b"Error L10" not in message for message in refused)
        assert b"Error L10" not in b"".join(kind.messages)
        assert not any("Error L10" in line for line in shop.log())
        assert set(of_messages(kind.messages)) == set(range(3000))


def test_drains_are_added_listed_and_removed(serve: Serve, tmp_path: Path) -> None:
    counting(serve, tmp_path, 10)
    url = f"https://user:{SECRET}@logs.example.invalid/in?key={SECRET}"
    assert serve.done("drains:add", url).stdout == (
        "Successfully added drain https://***@logs.example.invalid/in?key=***\n"
    )
    (drain,) = json.loads(serve.done("drains", "--json").stdout)
    assert re.fullmatch(r"d\.[0-9a-f-]{36}", drain["token"])
    assert drain["addon"] is None
    listed = serve.done("drains").stdout
    assert listed.startswith(f"=== Drains\n\nhttps://***@logs.example.invalid/in?key=*** ({drain['token']})\n")
    twice = serve.dynod("drains:add", url)
    assert (twice.returncode, twice.stderr) == (1, "dynod: Url has already been taken\n")
    for port in range(1, 5):
        serve.done("drains:add", f"syslog://127.0.0.1:{port}")
    sixth = serve.dynod("drains:add", "syslog://127.0.0.1:6")
    assert (sixth.returncode, "maximum number of drains" in sixth.stderr) == (1, True)
    bad = serve.dynod("drains:add", f"gopher://{SECRET}@x")
    assert (bad.returncode, "Invalid drain destination" in bad.stderr, SECRET in bad.stderr) == (1, True, False)
    for ref in (url, "syslog://127.0.0.1:1"):
        serve.done("drains:remove", ref)
    missing = serve.dynod("drains:remove", "syslog://127.0.0.1:1")
    assert (missing.returncode, "dynod: Couldn't find that log drain; " in missing.stderr) == (1, True)
    assert SECRET not in missing.stderr
    assert len(drain_health(serve)) == 3


def test_a_file_drain_writes_json_with_journalds_names(serve: Serve, tmp_path: Path) -> None:
    shop = counting(serve, tmp_path, 3)
    out = tmp_path / "out.json"
    serve.done("drains:add", f"file://{out}?format=json")
    shop.scale("worker=1")
    lines = eventually(
        lambda: found if (found := _json_numbers(out)) == [0, 1, 2] else None, what="three numbers in the file"
    )
    assert lines == [0, 1, 2]
    first = json.loads(out.read_text().splitlines()[0])
    assert first["DYNOD_APP"] == "shop"
    assert first["__REALTIME_TIMESTAMP"].isdigit()


def test_a_drain_to_stdout_writes_json_with_journalds_names(serve: Serve, tmp_path: Path) -> None:
    """For journald and for containers; serve's stdout has nothing else."""
    shop = counting(serve, tmp_path, 300)
    serve.done("drains:add", "stdout:")
    shop.scale("worker=1")
    serve.wait_for_line(r'"MESSAGE": "number 299"', stream="stdout")
    entries = [json.loads(line.text) for line in serve.output.lines("stdout")]
    counted = [entry for entry in entries if entry["MESSAGE"].startswith("number ")]
    assert [entry["MESSAGE"] for entry in counted] == [f"number {number}" for number in range(300)]
    for entry in counted:
        assert set(entry) == {
            *("__REALTIME_TIMESTAMP", "PRIORITY", "SYSLOG_IDENTIFIER", "DYNOD_APP", "DYNOD_SOURCE", "DYNOD_PS"),
            *("DYNOD_TIME", "MESSAGE"),
        }
        assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["DYNOD_APP"]) == ("6", "app[worker.1]", "shop")
    assert {entry["DYNOD_SOURCE"] for entry in entries} == {"app", "heroku"}
    (health,) = drain_health(serve)
    assert (health["dropped"], health["failures"]) == (0, 0)


def _json_numbers(path: Path) -> list[int]:
    if not path.exists():
        return []
    messages = [json.loads(line)["MESSAGE"] for line in path.read_text().splitlines()]
    return [int(message.split()[1]) for message in messages if message.startswith("number ")]


# --- dynod logs -------------------------------------------------------------------------------------------------------


def test_the_history_is_filtered_first_and_survives_kills_and_restarts(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Serve(state) as serve:
        shop = counting(serve, tmp_path, 3000)
        shop.scale("worker=1")
        shop.wait_for_log(r"number 2999$")
        kill_cores(serve, 1, lambda: None)
        assert numbers(serve.done("logs", "-n", "5").stdout)[-1:] in ([2999], [])
        assert numbers(serve.done("logs", "-n", "3", "--grep", "number 100").stdout) == [1007, 1008, 1009]
        assert numbers(serve.done("logs", "-n", "1500", "-p", "worker", "-s", "app").stdout) == list(range(1500, 3000))
        mark = serve.mark
    with Serve(state, mark=mark) as serve:
        serve.wait_until_ready()
        found = serve.done("logs", "--since", "1h", "-d", "worker.1", "-s", "app", "--until", "0s").stdout
        assert numbers(found)[:3000] == list(range(3000))
        as_json = [
            json.loads(line) for line in serve.done("logs", "-n", "2", "--grep", "number", "--json").stdout.splitlines()
        ]
        assert {entry["source"] for entry in as_json} == {"app"}


@pytest.mark.parametrize("daemon", ["serve", "up"])
def test_a_tail_goes_on_over_a_kill_of_the_core(tmp_path: Path, daemon: str) -> None:
    """In `serve` without a gap; in `up`, where the history dies with the core, with what comes from then on."""
    if daemon == "serve":
        with Serve(tmp_path / "state") as serve:
            shop = counting(serve, tmp_path, 3000, pause_s=0.05)
            shop.scale("worker=1")
            found = _tail_over_a_kill(serve, {"DYNOD_SOCKET": str(serve.socket)}, tmp_path)
        # A line may be there twice (contracts 3), and none is missing.
        assert set(found) <= set(range(3000))
        assert len(set(found)) >= 3000 - in_hand(MOST_IN_HAND)
    else:
        folder = app_folder(tmp_path, procfile={"worker": f"{toy('counts_to')} 3000 0.05"})
        with Up(folder) as up:
            up.wait_until_up("worker.1")
            found = _tail_over_a_kill(up, {**up._environment}, folder)
        assert (found[0], found[-1]) == (0, 2999)


def _tail_over_a_kill(running: Up, environment: dict[str, str], folder: Path) -> list[int]:
    tail = subprocess.Popen(
        [sys.executable, "-m", "dynod", "logs", "--tail", "--since", "1h", "-s", "app", "-p", "worker"],
        env={**clean_environment(), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: list[int] = []
    killed = False
    assert tail.stdout is not None
    try:
        core = running.core_pid()
        for line in tail.stdout:
            found += numbers(line)
            if found and found[-1] > 500 and not killed:
                killed = True
                os.kill(core, signal.SIGKILL)
            if found and found[-1] == 2999:
                break
    finally:
        tail.kill()
        tail.wait()
        tail.stdout.close()
    return found


def test_colours_are_for_terminals_and_for_whoever_forces_them(serve: Serve, tmp_path: Path) -> None:
    shop = counting(serve, tmp_path, 3)
    shop.scale("worker=1")
    shop.wait_for_log(r"number 2$")
    plain = serve.done("logs", "-s", "app", "-p", "worker").stdout
    assert numbers(plain) == [0, 1, 2]
    assert "\x1b" not in plain
    forced = serve.done("logs", "-s", "app", "-p", "worker", "--force-colors").stdout
    assert re.findall(r"\x1b\[\d+m\d\d:\d\d:\d\d app\[worker\.1\]:\x1b\[0m +number (\d)", forced) == ["0", "1", "2"]
    assert "\x1b" not in serve.done("logs", "--force-colors", "--no-color").stdout


def test_a_tail_ends_with_the_daemon_and_has_its_last_line(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = counting(serve, tmp_path, 5)
        shop.scale("worker=1")
        shop.wait_for_log(r"number 4$")
        with (tmp_path / "tail").open("wb") as out:
            tail = subprocess.Popen(
                [sys.executable, "-m", "dynod", "logs", "--tail"],
                env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
                cwd=tmp_path,
                stdout=out,
            )
        eventually(lambda: "number 4" in (tmp_path / "tail").read_text() or None, what="the tail has begun")
        assert serve.stop() == 0
        assert tail.wait(30) == 0
    assert "heroku[worker.1]: Process exited with status" in (tmp_path / "tail").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-p", "web", "-d", "web.1"], 2, "exclude each other"),
        (["--since", "yesterday"], 2, "--since: expected"),
        (["--where", "status>fast"], 1, "expected a number"),
        (["-t", "--until", "1h"], 2, "--tail has no end"),
        (["-n", "2000"], 2, "2000"),
        (["-s", "logplex"], 2, "logplex"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    serve: Serve, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    counting(serve, tmp_path, 1)
    refused = serve.dynod("logs", *arguments)
    assert (refused.returncode, message in refused.stderr) == (code, True), refused.stderr


# --- log sessions over the API, as Heroku's command line uses them ----------------------------------------------------


def ask(serve: Serve, method: str, path: str, body: object = None, *, accept: str = "*/*") -> tuple[int, str, bytes]:
    """Status, type and body of one request."""
    connection = UnixConnection(str(serve.socket), 30.0)
    with contextlib.closing(connection):
        encoded = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, body=encoded, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()


def session_path(serve: Serve, **wanted: object) -> str:
    status_code, _type, body = ask(serve, "POST", "/apps/shop/log-sessions", wanted)
    assert status_code == 201, body
    session = json.loads(body)
    assert {"created_at", "id", "logplex_url", "updated_at"} == set(session)
    return urlsplit(str(session["logplex_url"])).path


def test_a_session_is_text_or_server_sent_events_and_is_opened_once(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"worker": toy("binary")}, quantities={"worker": 0})
    shop.scale("worker=1")
    shop.wait_for_log("täglich")
    path = session_path(serve, dyno="worker.1", source="app", lines=1500)
    code, kind, plain = ask(serve, "GET", path)
    assert (code, kind) == (200, "text/plain; charset=utf-8")
    assert ask(serve, "GET", path)[2] == plain, "it can be opened again"
    assert ask(serve, "GET", path[:-1] + ("0" if path[-1] != "0" else "1"))[0] == 404
    assert ask(serve, "GET", path.rpartition(".")[0])[0] == 404
    assert b"\xff" in plain or b"\x80" in plain, "bytes are as the dyno wrote them"
    path = session_path(serve, dyno="worker", source="app", lines=1500)
    code, kind, events = ask(serve, "GET", path, accept="text/event-stream")
    assert (code, kind) == (200, "text/event-stream; charset=utf-8")
    shown = events.decode()  # UTF-8, whatever the dyno wrote
    data = [line.removeprefix("data: ") for line in shown.split("\n") if line.startswith("data: ")]
    assert all(re.match(r"data: |id: \d+-\d+$", line) for line in shown.split("\n") if line)
    assert len(data) >= plain.count(b"\n") > 0
    assert all(" app[worker.1]: " in line for line in data)


def events_until(serve: Serve, path: str, last: str, *, after: str | None, kill: bool) -> tuple[str, str]:
    """What a client of Server-Sent Events gets until that line, or the end, and the last id of an event."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
    connection = UnixConnection(str(serve.socket), 30.0)
    read = b""
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        core = serve.core_pid()
        with contextlib.suppress(http.client.HTTPException, OSError):
            while last.encode() not in read and (data := answer.read1(1 << 16)):
                read += data
                if kill and b"number 300\n" in read:
                    os.kill(core, signal.SIGKILL)
    if kill:
        serve.core_pid(other_than=core)
    whole = read[: read.rfind(b"\n\n") + 2].decode()  # an event that was cut is none
    return whole, re.findall(r"^id: (.*)$", whole, re.MULTILINE)[-1]


def test_a_client_of_events_goes_on_over_a_kill_of_the_core_by_itself(serve: Serve, tmp_path: Path) -> None:
    """As EventSource does, on which Heroku's command line stands: the same URL again, and where it was."""
    shop = counting(serve, tmp_path, 2000, pause_s=0.02)
    path = session_path(serve, tail=True, dyno="worker.1", source="app")
    shop.scale("worker=1")
    first, at = events_until(serve, path, "number 1999\n", after=None, kill=True)
    second, _ = events_until(serve, path, "number 1999\n", after=at, kill=False)
    found = [numbers(text.replace("data: ", "")) for text in (first, second)]
    assert found[0]
    assert found[1]
    assert sorted({*found[0], *found[1]}) == list(range(2000)), "none is missing"
    twice = {number for number, times in Counter(numbers("\n".join(shop.log()))).items() if times > 1}
    again = [number for number in found[0] if number in {*found[1]} - twice]
    assert again == found[0][len(found[0]) - len(again) :], "but what its core had not kept when it was killed"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"lines": 1501}, 422),
        ({"lines": -1}, 422),
        ({"lines": "many"}, 422),
        ({"source": "logplex"}, 422),
        ({"dyno": "web.1", "type": "web"}, 422),
        ({"dynod": {"where": "status>fast"}}, 422),
        ({"unknown": True}, 201),
        ({}, 201),
    ],
)
def test_a_session_that_makes_no_sense_is_refused(
    serve: Serve, tmp_path: Path, wanted: dict[str, object], code: int
) -> None:
    counting(serve, tmp_path, 1)
    assert ask(serve, "POST", "/apps/shop/log-sessions", wanted)[0] == code
    assert ask(serve, "POST", "/apps/other/log-sessions", wanted)[0] == 404


def test_router_lines_are_found_by_their_fields(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")})
    shop.wait_until_up("web.1")
    assert shop.get("/").status == 200
    shop.wait_for_log(r"heroku\[router\]: at=info .* status=200")
    assert " status=200 " in serve.done("logs", "--where", "status=200 service<1m").stdout
    assert serve.done("logs", "--where", "status>=500").stdout == ""


def test_a_slow_tail_is_told_how_many_lines_it_has_lost(serve: Serve, tmp_path: Path) -> None:
    shop = counting(serve, tmp_path, 60_000, pause_s=0.0)
    path = session_path(serve, tail=True, lines=0)
    connection = UnixConnection(str(serve.socket), 30.0)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        shop.scale("worker=1")
        shop.wait_for_log(r"number 59999$", timeout_s=60.0)
        read = b""
        while b"number 59999\n" not in read:  # only now is anything read
            read += answer.read1(1 << 16)
    told = re.findall(
        r"heroku\[logplex\]: Error L11 \(Tail buffer overflow\) -> This tail session dropped (\d+) messages since ",
        read.decode(),
    )
    assert told
    found = numbers(read.decode())
    assert found == sorted(found)
    platform_lines = 2  # what the platform said meanwhile may be among the lost
    assert abs(len(found) + sum(map(int, told)) - 60_000) <= platform_lines + 2


def test_a_noisy_dyno_delays_no_other_and_not_the_router_and_memory_stays_bounded(serve: Serve, tmp_path: Path) -> None:
    """While one writes without end, what another says arrives, requests are answered, and their lines arrive."""
    noise = rounds(40, full=1000) * 1_000_000  # bytes
    procfile = {
        "web": toy("web_server"),
        "noisy": "yes a line of noise",
        "quiet": "while read x <gate; do echo q$x; done",
    }
    formation = {"formation": {name: {"quantity": int(name == "web")} for name in procfile}}
    folder = serve.folder_of(tmp_path, "shop", procfile=procfile, app_json=formation)
    os.mkfifo(folder / "gate")
    serve.done("apps:create", "shop", "--dir", str(folder))
    shop = serve.known_app("shop")
    shop.wait_until_up("web.1")
    paths = [session_path(serve, tail=True, lines=0, dyno=dyno) for dyno in ("quiet.1", "router")]
    with contextlib.ExitStack() as stack:
        tails = []
        for path in paths:
            connection = stack.enter_context(contextlib.closing(UnixConnection(str(serve.socket), 30.0)))
            connection.request("GET", path)
            tails.append(connection.getresponse())
        shop.scale("noisy=1", "quiet=1")
        (noisy,) = eventually(lambda: serve.dyno_pids().get("noisy.1"), what="the noise begins")
        core = serve.core_pid()
        before = resident_bytes(core)
        number = written = 0
        while written < noise:
            number += 1
            (folder / "gate").write_text(f"{number}\n")
            assert shop.get(f"/{number}").status == 200
            for tail, wanted in zip(tails, (f"app[quiet.1]: q{number}\n", f' path="/{number}" '), strict=True):
                read = b""
                while wanted.encode() not in read:
                    read += tail.read1(1 << 16)
            now = bytes_written(noisy)
            assert now > written, "the noise went on meanwhile"
            written = now
        assert serve.core_pid() == core
        assert resident_bytes(core) - before < 64 << 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_written(pid: int) -> int:
    return int(re.findall(r"^wchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)[0])
