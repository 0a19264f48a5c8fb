"""The real `dynod serve` as a child of a test: as `Up`, with a state folder, a control socket, and apps.

    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")})
        shop.wait_until_up("web.1")
        assert shop.get("/").status == 200

Dynos of `serve` inherit nothing, so the mark by which every process is found again is given to them as a variable of
app.json. What an app's log says is read from its history on disk.
"""

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.keeper.cores import Patience
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from dynod.platform_api.schema import Dyno
from support import processes, verbs
from support.app_folder import app_folder
from support.transcript import TIMEOUT_S
from support.up import Answer, Up, clean_environment, eventually

VERB_TIMEOUT_S: Final = 90.0

# The real keeper, but for some of its numbers, such as that cores which end one after the other are started ever later.
_IMPATIENT_KEEPER: Final = """
import json, os, sys
from dynod.keeper.features import detect
from dynod.keeper.cores import Patience
from dynod.keeper.main import Keeper, own_descriptors
from dynod.keeper.notify import Notifier
own_descriptors()
keeper = Keeper(
    sys.argv[2:],
    features=detect(os.environ),
    notifier=Notifier(os.environ),
    patience=Patience(**json.loads(sys.argv[1])),
)
sys.exit(keeper.run())
"""


CORES_AT_ONCE: Final = Patience(restart_delays_s=(0.0,))


def _impatient(patience: Patience) -> tuple[str, ...]:
    return ("-c", _IMPATIENT_KEEPER, json.dumps(patience._asdict()))


class Serve(Up):
    """One run of `dynod serve` over a state folder, which may have been another's before."""

    def __init__(
        self,
        state: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        mark: str | None = None,
        toml: str = "",
        isolation: str = "none",
        patience: Patience | None = None,
        python: Path | None = None,
    ) -> None:
        """`mark`: of an earlier run over the same state, whose apps have it. `toml`: the settings file.

        `python`: the interpreter of another environment that has dynod.

        `patience`: the keeper's with its cores, where it is not the usual one. CORES_AT_ONCE: a core is followed by the
        next without a pause, however many have been killed in a row.
        """
        usual = {"DYNOD_CONTAINER_ISOLATION": isolation, "DYNOD_SERVE_CLOSE_DYNO_PORTS": "false"}
        super().__init__(state, env={**usual, **(env or {})})
        if mark is not None:
            self.mark = mark
            self._environment[processes.MARK] = mark
        self.state = state
        self.socket = self.runtime / "dynod.sock"
        self.config = state.with_name(f"{state.name}.toml")
        self.config.write_text(toml)
        self._command = [
            *(str(python or sys.executable), *(("-m", "dynod") if patience is None else _impatient(patience))),
            *("serve", "--state", str(state), "--socket", str(self.socket)),
            *("--config", str(self.config), "--listen", f"127.0.0.1:{self.port}", *arguments),
        ]

    @property
    def client(self) -> ApiClient:
        """The API. A client of its own each time: a connection does not outlive a core."""
        return ApiClient(Daemon(socket=str(self.socket), source="--socket"))

    def wait_until_ready(self) -> None:
        """Until it has said where it listens."""
        self.wait_for_line(r"control socket")

    def dynod(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A verb that talks to this daemon, run to its end."""
        environment = {**clean_environment(), **(env or {}), "DYNOD_SOCKET": str(self.socket)}
        return verbs.run(arguments, env=environment, cwd=self.runtime, timeout_s=VERB_TIMEOUT_S)

    def done(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """As `dynod`, for a verb that must succeed."""
        ended = self.dynod(*arguments, env=env)
        assert ended.returncode == 0, f"{arguments}: {ended.stderr}\n{self.output}"
        return ended

    def folder_of(
        self,
        parent: Path,
        name: str,
        *,
        procfile: str | Mapping[str, str],
        app_json: Mapping[str, object] | None = None,
        files: Mapping[str, str | bytes] | None = None,
    ) -> Path:
        """An app's folder, whose dynos can be found by the mark."""
        manifest = dict(app_json or {})
        env = manifest.get("env")
        manifest["env"] = {**(env if isinstance(env, dict) else {}), processes.MARK: {"value": self.mark}}
        return app_folder(parent, procfile=procfile, app_json=manifest, files=files, name=name)

    def app(
        self,
        parent: Path,
        name: str,
        *,
        procfile: str | Mapping[str, str],
        quantities: Mapping[str, int] | None = None,
        app_json: Mapping[str, object] | None = None,
    ) -> "ServedApp":
        """A new app in a new folder `parent/name`; `quantities` as app.json gives them."""
        self.wait_until_ready()
        manifest = dict(app_json or {})
        if quantities is not None:
            manifest["formation"] = {kind: {"quantity": count} for kind, count in quantities.items()}
        folder = self.folder_of(parent, name, procfile=procfile, app_json=manifest)
        with contextlib.closing(self.client) as client:
            client.create_app(name, str(folder))
        return self.known_app(name)

    def known_app(self, name: str) -> "ServedApp":
        """An app that is there already."""
        with contextlib.closing(self.client) as client:
            return ServedApp(self, name, client.app(name)["id"])

    def app_names(self) -> list[str]:
        """Every app."""
        with contextlib.closing(self.client) as client:
            return [app["name"] for app in client.apps()]


class ServedApp:
    """An app of a `dynod serve`, as its users see it."""

    def __init__(self, serve: Serve, name: str, id_: str) -> None:
        self.serve = serve
        self.name = name
        self.id = id_

    def get(self, path: str = "/", *, method: str = "GET") -> Answer:
        """One request by the app's own host name."""
        return self.serve.get(path, method=method, headers={"Host": f"{self.name}.localhost"})

    def dynos(self) -> dict[str, Dyno]:
        """By name, those of the formation and one-off ones."""
        with contextlib.closing(self.serve.client) as client:
            return {dyno["name"]: dyno for dyno in client.dynos(self.name)}

    def states(self) -> dict[str, str]:
        """By dyno."""
        return {name: dyno["state"] for name, dyno in self.dynos().items()}

    def pids(self) -> dict[str, int | None]:
        """By dyno, its main process."""
        return {name: dyno["dynod"]["pid"] for name, dyno in self.dynos().items()}

    def formation(self) -> dict[str, int]:
        """By process type."""
        with contextlib.closing(self.serve.client) as client:
            return {entry["type"]: entry["quantity"] for entry in client.formation(self.name)}

    def scale(self, *changes: str) -> None:
        """`web=2`, `web+1`, `worker-1`: all at once, as ps:scale has them."""
        with contextlib.closing(self.serve.client) as client:
            client.scale(self.name, [_update(change) for change in changes])

    def restart(self, *, process_type: str | None = None, dyno: str | None = None) -> None:
        """Ask for it; `wait` waits."""
        with contextlib.closing(self.serve.client) as client:
            client.restart(self.name, process_type=process_type, dyno=dyno)

    def wait(self) -> None:
        """Until every dyno is up and no restart is under way."""
        self.serve.done("ps:wait", "-a", self.name, "--timeout", str(int(VERB_TIMEOUT_S) - 10))

    def wait_until(self, states: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> None:
        """Until exactly these dynos are in these states."""
        eventually(lambda: self.states() == states, what=f"{self.name}: {states}", timeout_s=timeout_s)

    def wait_until_up(self, *dynos: str) -> None:
        """Until these dynos are there, and up, and no others."""
        self.wait_until(dict.fromkeys(dynos, "up"))

    def log(self) -> list[str]:
        """Every line so far without its time: `heroku[web.1]: State changed from starting to up`."""
        text = b"".join(map(_read, sorted((self.serve.state / "logs" / self.id).glob("[0-9]*"))))
        return [line.partition(" ")[2] for line in text.decode(errors="backslashreplace").splitlines()]

    def wait_for_log(self, pattern: str, *, count: int = 1, since: int = 0, timeout_s: float = TIMEOUT_S) -> str:
        """The `count`-th line in which `pattern` is found, of those numbered `since` or later."""
        compiled = re.compile(pattern)

        def look() -> str | None:
            found = [line for line in self.log()[since:] if compiled.search(line)]
            return found[count - 1] if len(found) >= count else None

        try:
            return eventually(look, what=f"{self.name}: a line matching {pattern!r}", timeout_s=timeout_s)
        except AssertionError:
            print("\n".join(self.log()))
            raise


def _read(segment: Path) -> bytes:
    data = segment.read_bytes()
    return gzip.decompress(data) if segment.suffix == ".gz" else data


def _update(change: str) -> dict[str, str]:
    match = re.fullmatch(r"([\w-]+?)=?([+-]?\d+)(?::(.+))?", change)
    assert match is not None, change
    update = {"type": match[1], "quantity": match[2]}
    return {**update, "size": match[3]} if match[3] else update


def is_alive(pid: int | None) -> bool:
    """Whether there is such a process."""
    return pid is not None and os.path.exists(f"/proc/{pid}")  # noqa: PTH110 (as short as it gets)
