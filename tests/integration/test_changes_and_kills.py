"""Config, releases and scale of an app are changed while the core is killed again and again: what was said, holds."""

import json
import os
import random
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dynod.platform_api.finding import NoDaemonError
from dynod.platform_api.requests import ApiError
from support.app_folder import toy
from support.counts import rounds
from support.serve import CORES_AT_ONCE, Serve, ServedApp
from support.up import eventually

KILLS = rounds(6, full=500)
MOST_PENDING = 4  # releases that wait their turn: more would only wait longer
TOLD_EVERY = 25  # kills: how far it has come
WITHOUT_PAUSE = "[dynos]\nsettle_s = 0\ngrace_s = 5\n"
PROCFILE = {"web": toy("web_server"), "worker": "exec sleep 100000", "release": "echo migrated"}


@pytest.mark.timeout(rounds(120, full=7200))
def test_every_acknowledged_change_survives_cores_killed_at_random_moments(tmp_path: Path) -> None:
    """Changed by the API; then a look at the state itself."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with Serve(tmp_path / "state", toml=WITHOUT_PAUSE, patience=CORES_AT_ONCE) as serve:
        serve.wait_until_ready()
        app = serve.app(tmp_path, "shop", procfile=PROCFILE, quantities={"worker": 1})
        app.wait_until_up("web.1", "worker.1")
        changes = Changes(app)
        chance = random.Random(seed)
        with ThreadPoolExecutor(1) as killer:
            for number in range(1, KILLS + 1):
                core = serve.core_pid()
                killing = killer.submit(_kill_after, core, chance.uniform(0.0, chance.choice((0.02, 1.0))))
                for _ in range(chance.randint(1, 3)):
                    changes.make_one(chance)
                killing.result()
                serve.core_pid(other_than=core)
                changes.let_pass(MOST_PENDING)
                if number % TOLD_EVERY == 0:
                    print(f"{number} kills: {changes.acknowledged} acknowledged, {changes.cut} cut", flush=True)
        assert changes.acknowledged >= KILLS // 2
        changes.let_pass(0)
        app.wait()
        changes.check()
        newest = changes.newest_version()
        assert {dyno["release"]["version"] for dyno in app.dynos().values()} <= {newest}
        assert len(app.dynos()) == sum(app.formation().values())
        eventually(lambda: len(serve.dyno_pids()) == len(app.dynos()), what="one process a dyno")
        assert serve.stop() == 0
        changes.check_state(serve.state / "state.db", newest)
        print(
            f"{KILLS} kills: {changes.acknowledged} changes acknowledged and there, {changes.cut} cut, v{newest}, "
            f"integrity_check ok"
        )


class Changes:
    """What was asked of an app, and what of it was acknowledged; the rest may be there or not."""

    def __init__(self, app: ServedApp) -> None:
        self._app = app
        self._config: dict[str, set[str | None]] = {}  # by name, the values that there may be
        self._quantities = {"web": {1}, "worker": {1}}  # those that there may be
        self._released: dict[int, tuple[str, str]] = {}  # by acknowledged version, the config var that it was made for
        self._rolled_back: set[int] = set()  # acknowledged versions
        self._number = 0
        self.acknowledged = 0
        self.cut = 0

    def make_one(self, chance: random.Random) -> None:
        """Two config vars at once, a rollback of the code alone, or another number of dynos."""
        client, app = self._app.serve.client, self._app.name
        self._number += 1
        value, name = str(self._number), f"V{chance.randrange(7)}"
        try:
            match chance.randrange(6):
                case 0:
                    kind = chance.choice(("web", "worker"))
                    wanted = chance.randrange(2 if kind == "web" else 3)
                    self._quantities[kind].add(wanted)
                    client.scale(app, [{"type": kind, "quantity": str(wanted)}])
                    self._quantities[kind] = {wanted}
                case 1:
                    self._rolled_back.add(client.roll_back(app, "3", code_only=True)["version"])
                case _:
                    self._config.setdefault(name, {None}).add(value)
                    found, version = client.change_config_vars(app, {name: value, f"{name}_TOO": value})
                    assert found[name] == found[f"{name}_TOO"] == value
                    assert version is not None, "no two values are the same"
                    self._released[int(version)] = (name, value)
                    self._config[name] = {value}
            self.acknowledged += 1
        except (ApiError, NoDaemonError):
            self.cut += 1  # with the core: it is there or it is not
        finally:
            client.close()

    def let_pass(self, most: int) -> None:
        """Until no more releases than that are pending."""

        def look() -> bool:
            client = self._app.serve.client
            try:
                statuses = [each["status"] for each in client.newest_releases(self._app.name, most + 1)]
                return statuses.count("pending") <= most
            except (ApiError, NoDaemonError):
                return False
            finally:
                client.close()

        eventually(look, what=f"at most {most} pending releases", timeout_s=90)

    def newest_version(self) -> int:
        """Of every release."""
        client = self._app.serve.client
        try:
            return client.newest_releases(self._app.name, 1)[0]["version"]
        finally:
            client.close()

    def check(self) -> None:
        """What the API says now."""
        found = json.loads(self._app.serve.done("config", "--json").stdout)
        for name, possible in self._config.items():
            assert found.get(name) in possible, name
            assert found.get(name) == found.get(f"{name}_TOO"), "no half change"
        formation = self._app.formation()
        assert all(formation[kind] in possible for kind, possible in self._quantities.items())

    def check_state(self, database: Path, newest: int) -> None:
        """What is on disk: a release for each that was acknowledged, with what it was made for, and none by half."""
        connection = sqlite3.connect(database)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = connection.execute("SELECT version, status, config FROM releases ORDER BY version").fetchall()
        connection.close()
        assert [version for version, _, _ in rows] == list(range(1, newest + 1))
        assert {status for _, status, _ in rows} == {"succeeded"}
        configs = {version: json.loads(config) for version, _, config in rows}
        for version, (name, value) in self._released.items():
            assert configs[version].get(name) == value, f"v{version} was acknowledged with {name}={value}"
        assert self._rolled_back <= configs.keys()
        for version, config in configs.items():
            for name in self._config:
                assert config.get(name) == config.get(f"{name}_TOO"), f"v{version} has half a change"


def _kill_after(pid: int, pause_s: float) -> None:
    signal.sigtimedwait(set(), pause_s)  # the moment is the point
    os.kill(pid, signal.SIGKILL)
