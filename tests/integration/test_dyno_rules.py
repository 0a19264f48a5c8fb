"""What `dynod serve` holds dynos to: their grace, stop signal, restart delays, boot timeout, memory, checks."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.serve import Serve, ServedApp
from support.up import Up, eventually, free_port

pytestmark = pytest.mark.timeout(150)


def platform_lines(app: ServedApp, dyno: str) -> list[str]:
    """What was said of a dyno, in order."""
    prefix = f"heroku[{dyno}]: "
    return [line.removeprefix(prefix) for line in app.log() if line.startswith(prefix)]


def after(lines: list[str], first: str) -> list[str]:
    return lines[next(number for number, line in enumerate(lines) if re.match(first, line)) :]


# --- stopping ----------------------------------------------------------------------------------------------------


def test_grace_and_signal_are_each_types_own(tmp_path: Path) -> None:
    toml = '[dynos]\ngrace_s = 0.5\nstop_signal = "SIGINT"\nclock.stop_signal = "SIGUSR1"\nclock.grace_s = 20\n'
    procfile = {"worker": toy("ignores_sigterm"), "clock": toy("waits"), "other": toy("waits")}
    with Serve(tmp_path / "state", toml=toml) as serve:
        shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"worker": 1, "clock": 1, "other": 1})
        for name in ("worker.1", "clock.1", "other.1"):
            shop.wait_for_log(rf"app\[{name}\]: ready")
        shop.scale("worker=0", "clock=0", "other=0")
        shop.wait_until({})
        shop.wait_for_log(r"app\[clock\.1\]: got SIGUSR1")
        shop.wait_for_log(r"app\[other\.1\]: got SIGINT")
        shop.wait_for_log(r"heroku\[worker\.1\]: Process exited")
        assert after(platform_lines(shop, "worker.1"), "State changed from up to down") == [
            "State changed from up to down",
            "Stopping all processes with SIGINT",
            "Error R12 (Exit timeout) -> At least one process failed to exit within 0.5 seconds of SIGINT",
            "Stopping remaining processes with SIGKILL",
            "Process exited with status 137",
        ]
        assert after(platform_lines(shop, "clock.1"), "State changed from up to down") == [
            "State changed from up to down",
            "Stopping all processes with SIGUSR1",
            "Process exited with status 0",
        ]


def test_a_stopped_process_is_ended_too(tmp_path: Path) -> None:
    """SIGTERM waits for a SIGCONT; SIGKILL does not."""
    with Serve(tmp_path / "state", toml="[dynos]\ngrace_s = 0.5\n") as serve:
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("waits")}, quantities={"worker": 1})
        shop.wait_for_log(r"app\[worker\.1\]: ready")
        pid = shop.pids()["worker.1"]
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        shop.scale("worker=0")
        shop.wait_until({})
        shop.wait_for_log(r"heroku\[worker\.1\]: Process exited with status (0|137)")


# --- crashing ----------------------------------------------------------------------------------------------------


def test_the_restart_delays_are_as_set(tmp_path: Path) -> None:
    toml = "[dynos]\nrestart = [0, 0.2, 3600]\nrestart_jitter = 0\n"
    with Serve(tmp_path / "state", toml=toml) as serve:
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("exits_at_once", 3)}, quantities={"worker": 1})
        shop.wait_for_log(r"heroku\[worker\.1\]: Starting again in 3600 s \(crash 3 in a row\)")
        said = platform_lines(shop, "worker.1")
        assert sum("Process exited with status 3" in line for line in said) == 3
        assert shop.states() == {"worker.1": "crashed"}
        why = serve.done("ps", "--why", "worker.1").stdout
        assert re.search(r"crash 3 in a row, back-off until \d\d:\d\d:\d\d UTC", why)


def test_heroku_waits_as_heroku_does(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml='[dynos]\nrestart = "heroku"\nrestart_jitter = 0\n') as serve:
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("exits_at_once", 1)}, quantities={"worker": 1})
        shop.wait_for_log(r"heroku\[worker\.1\]: Starting again in 1200 s \(crash 2 in a row\)")


def test_a_dyno_that_stays_up_begins_the_ladder_anew(tmp_path: Path) -> None:
    toml = "[dynos]\nrestart = [0, 3600]\nrestart_reset_after_s = 0.001\n"
    with Serve(tmp_path / "state", toml=toml) as serve:
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("waits")}, quantities={"worker": 1})
        for crash in range(1, 5):
            shop.wait_for_log(r"app\[worker\.1\]: ready", count=crash)
            shop.wait_until_up("worker.1")
            pid = shop.pids()["worker.1"]
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            shop.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 137", count=crash)
        shop.wait_for_log(r"app\[worker\.1\]: ready", count=5)
        assert not any("Starting again in" in line for line in shop.log())


# --- booting -----------------------------------------------------------------------------------------------------


def test_dynos_are_cycled_web_dynos_without_a_gap(tmp_path: Path) -> None:
    """Heroku's daily cycling (heroku-semantics 3.3) every few seconds; days of it are in test_cycling_and_stops."""
    with Serve(tmp_path / "state", toml="[dynos]\ncycle_s = 3\n") as serve:
        procfile = {"web": toy("web_server"), "worker": toy("waits")}
        shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"web": 1, "worker": 1})
        shop.wait_for_log(r"heroku\[web\.1\]: State changed from starting to up")
        while not any(line.startswith("app[web.1]: all requests are answered") for line in shop.log()):
            assert shop.get("/").status == 200
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from starting to up", count=2)
        up, cycling = "State changed from starting to up", ["Cycling", "State changed from up to starting"]
        start = platform_lines(shop, "worker.1")[0]
        ended = ["Stopping all processes with SIGTERM", "Process exited with status 0"]
        assert platform_lines(shop, "worker.1")[:7] == [start, up, *cycling, *ended, start]
        start = platform_lines(shop, "web.1")[0]
        assert platform_lines(shop, "web.1")[:7] == [start, up, *cycling, start, up, ended[0]]
        assert "cycled after 3 s" in serve.done("ps", "--why", "web.1").stdout


def test_a_web_dyno_that_does_not_bind_in_time_is_killed(tmp_path: Path) -> None:
    toml = "[dynos]\nboot_timeout_s = 1\nrestart = [3600]\nrestart_jitter = 0\n"
    with Serve(tmp_path / "state", toml=toml) as serve:
        shop = serve.app(tmp_path, "shop", procfile={"web": toy("waits")})
        shop.wait_for_log(r"heroku\[web\.1\]: Starting again in 3600 s")
        assert platform_lines(shop, "web.1")[1:] == [
            "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 1 seconds of launch",
            "Stopping process with SIGKILL",
            "Process exited with status 137",
            "State changed from starting to crashed",
            "Starting again in 3600 s (crash 1 in a row)",
        ]
        assert shop.get("/").status == 503
        shop.wait_for_log(r"code=H10")


def test_a_web_dyno_on_another_port_is_told_so_before_its_time_is_up(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[dynos]\nboot_timeout_s = 5\nrestart = [3600]\n") as serve:
        port = free_port()
        shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server", "--port", port)})
        shop.wait_for_log(rf"heroku\[web\.1\]: web\.1 listens on 0\.0\.0\.0:{port}, PORT is 2\d{{4}}")
        shop.wait_for_log(r"heroku\[web\.1\]: Error R10")


# --- memory ------------------------------------------------------------------------------------------------------


def event_of(serve: Serve, action: str) -> dict[str, object] | None:
    found: list[dict[str, object]] = json.loads(serve.done("events", "--json", "-a", "shop").stdout)
    return next((event for event in found if event["action"] == action), None)


@pytest.mark.timeout(200)
def test_memory_beyond_the_size_is_reported_and_vastly_beyond_ends_the_dyno(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[dynos]\nrestart = [3600]\n") as serve:
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("grows", 600, 550)}, quantities={"worker": 0})
        shop.scale("worker=1:standard-1x")
        shop.wait_for_log(r"app\[worker\.1\]: has 600 MB")
        shop.wait_for_log(r"heroku\[worker\.1\]: Process running mem=6\d\dM\(11\d\.\d%\)", timeout_s=60)
        shop.wait_for_log(r"heroku\[worker\.1\]: Error R14 \(Memory quota exceeded\)")
        assert shop.states() == {"worker.1": "up"}
        exceeded = eventually(lambda: event_of(serve, "dyno.memory_exceeded"), what="an event of it")
        assert exceeded["actor"] == "dynod"
        assert str(exceeded["detail"]).startswith("worker.1: ")
        pid = shop.pids()["worker.1"]
        assert pid is not None
        os.kill(pid, signal.SIGUSR1)
        shop.wait_for_log(r"heroku\[worker\.1\]: Starting again in", timeout_s=60)
        said = platform_lines(shop, "worker.1")
        vast = said.index("Error R15 (Memory quota vastly exceeded)")
        # Where the kernel holds dynos to their sizes it is there first; elsewhere dynod looks, and ends it itself.
        ended = ["Process exited with status 137", "State changed from up to crashed"]
        if said[vast - 1].startswith("Killed by the kernel: the dyno was out of memory"):
            assert said[vast + 1 : vast + 3] == ended
        else:
            assert re.fullmatch(r"Process running mem=11\d\dM\(2\d\d\.\d%\)", said[vast - 1])
            assert said[vast + 1 : vast + 4] == ["Stopping process with SIGKILL", *ended]
        assert shop.states() == {"worker.1": "crashed"}


@pytest.mark.timeout(120)
def test_without_a_size_memory_is_nobodys_business(tmp_path: Path) -> None:
    """Contracts 8. Two apps, one of them sized: by the time that one is judged the other has been looked at too."""
    with Serve(tmp_path / "state") as serve:
        free = serve.app(tmp_path, "free", procfile={"worker": toy("grows", 560)}, quantities={"worker": 1})
        sized = serve.app(tmp_path, "sized", procfile={"worker": toy("grows", 560)}, quantities={"worker": 0})
        free.wait_for_log(r"has 560 MB")
        sized.scale("worker=1:basic")
        sized.wait_for_log(r"Error R14", timeout_s=60)
        assert not any("R14" in line or "mem=" in line for line in free.log())


# --- checks ------------------------------------------------------------------------------------------------------

CHECKED = toy("healthy_by_file")


def check(kind: str, **more: object) -> dict[str, object]:
    """A check that asks every second and believes the first failure."""
    return {"type": kind, "name": kind, "path": f"/{kind}", "attempts": 1, "wait": 1, "timeout": 5, **more}


def checked(serve: Serve, parent: Path, *checks: dict[str, object], quantity: int = 1) -> ServedApp:
    return serve.app(
        parent,
        "shop",
        procfile={"web": CHECKED},
        quantities={"web": quantity},
        app_json={"healthchecks": {"web": list(checks)}},
    )


def test_a_dyno_that_is_not_alive_is_restarted(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = checked(serve, tmp_path, check("liveness"))
        shop.wait_until_up("web.1")
        first = shop.pids()["web.1"]
        (tmp_path / "shop" / f"{first}.liveness").touch()
        shop.wait_for_log(r"heroku\[web\.1\]: Liveness check failed once: .*503")
        eventually(lambda: shop.pids()["web.1"] not in {first, None}, what="a fresh process")
        shop.wait()
        assert shop.get("/").status == 200
        assert "liveness check failed" in serve.done("ps", "--why", "web.1").stdout


def test_up_only_reports_that_a_dyno_is_not_alive(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": CHECKED}, app_json={"healthchecks": {"web": [check("liveness")]}})
    with Up(folder) as up:
        up.wait_until_up("web.1")
        (pid,) = up.dyno_pids()["web.1"]
        (folder / f"{pid}.liveness").touch()
        up.wait_for_line(r"heroku\[web\.1\]: Liveness check failed once")
        (folder / f"{pid}.liveness").unlink()
        up.wait_for_line(r"heroku\[web\.1\]: Liveness check passes again")
        assert up.dyno_pids()["web.1"] == [pid]


def test_a_dyno_that_is_not_ready_gets_no_requests_until_it_is(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = checked(serve, tmp_path, check("readiness"), quantity=2)
        shop.wait_until_up("web.1", "web.2")
        pids = shop.pids()

        def answering() -> set[str]:
            return {shop.get("/").text for _ in range(20)}

        eventually(lambda: answering() == {str(pid) for pid in pids.values()}, what="both answer")
        mark = tmp_path / "shop" / f"{pids['web.1']}.readiness"
        mark.touch()
        shop.wait_for_log(r"heroku\[web\.1\]: Readiness check failed once, no requests until it passes: .*503")
        assert answering() == {str(pids["web.2"])}
        assert shop.pids() == pids
        mark.unlink()
        eventually(lambda: answering() == {str(pid) for pid in pids.values()}, what="both answer again")


def test_when_none_is_ready_requests_are_not_left_to_hang(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[router]\nboot_hold_s = 1\nqueue_timeout_s = 1\n") as serve:
        shop = checked(serve, tmp_path, check("readiness"))
        shop.wait_until_up("web.1")
        assert shop.get("/").status == 200
        mark = tmp_path / "shop" / f"{shop.pids()['web.1']}.readiness"
        mark.touch()
        shop.wait_for_log(r"Readiness check failed once")
        assert shop.get("/").status == 503
        shop.wait_for_log(r"heroku\[router\]: at=error code=H\d\d")
        mark.unlink()
        eventually(lambda: shop.get("/").status == 200, what="it answers again")


def test_a_successor_that_is_not_ready_does_not_take_over(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = checked(serve, tmp_path, check("startup", attempts=2))
        shop.wait_until_up("web.1")
        old = shop.pids()
        (tmp_path / "shop" / "all.startup").touch()
        shop.restart(dyno="web.1")
        shop.wait_for_log(r"heroku\[web\.1\]: Startup check failed 2 times in a row: .*503")
        shop.wait_for_log(r"goes on with its old process")
        assert shop.pids() == old
        assert shop.get("/").text == str(old["web.1"])
