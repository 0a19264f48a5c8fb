"""A real keeper whose cores are played by the test: `dynod up` without everything above the keeper.

    with KeeperRun() as keeper:
        core = keeper.next_core()
        snapshot = core.hello()
        core.send(Ready())
        core.send(spawn(keeper, "one", toy_command))
        core.expect(Spawned)

At the end of the block the keeper has ended, and nothing it started lives; if the block fails, all is killed and
what the keeper wrote on stderr is shown.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from dynod.keeper.cores import Patience
from dynod.keeper.protocol import (
    VERSION,
    Channel,
    Forget,
    Goodbye,
    Held,
    Hello,
    Instance,
    Message,
    Ready,
    Received,
    SnapshotEnd,
    Spawn,
    Stored,
    Welcome,
)
from support import abilities, processes
from support.source_tree import REPOSITORY
from support.transcript import TIMEOUT_S, Transcript

_SCRIPTED_CORE: Final = Path(__file__).parent / "scripted_core.py"
_RUN_KEEPER: Final = """
import json, os, sys
from dynod.keeper.features import detect
from dynod.keeper.cores import Patience
from dynod.keeper.main import Keeper, own_descriptors
from dynod.keeper.notify import Notifier
own_descriptors()
core, patience = json.loads(sys.argv[1]), Patience(**json.loads(sys.argv[2]))
keeper = Keeper(sys.argv[3:], features=detect(os.environ), notifier=Notifier(os.environ), core=core, patience=patience)
sys.exit(keeper.run())
"""

# These cores do not beat by themselves, and the machine is shared.
PATIENT: Final = Patience(watchdog_s=300.0, ready_within_s=300.0)

Kind = TypeVar("Kind", bound=tuple[object, ...])


class Snapshot(NamedTuple):
    """What a core is given by `hello`. Descriptors belong to the core and are closed with it."""

    welcome: Welcome
    instances: dict[str, Instance]
    outputs: dict[str, int]
    inputs: dict[str, int]
    held: dict[str, list[int]]
    stored: dict[str, str]
    events: list[Message]  # that came right behind


class Core:
    """One core's life, played by the test."""

    def __init__(self, control: socket.socket, *, pid: int, keeper_fd: int) -> None:
        self.pid = pid
        self._control = control
        self._channel = Channel(socket.socket(fileno=keeper_fd))
        self._inbox: list[Received] = []
        self._fds: list[int] = []

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self._channel.send(message, fds)
        deadline = time.monotonic() + TIMEOUT_S
        while self._channel.pending:
            self._inbox += self._receive(deadline)
            self._channel.flush()

    def expect(self, kind: type[Kind], *fields: object) -> Kind:
        """The next message of this kind, whose first fields are these; earlier ones of other kinds stay for later."""
        return self._take(kind, fields)[0]

    def expect_with_fd(self, kind: type[Kind], *fields: object) -> tuple[Kind, int]:
        message, fds = self._take(kind, fields)
        return message, fds[0]

    def take_fds(self, kind: type[Kind], *fields: object) -> list[int]:
        return self._take(kind, fields)[1]

    def close_fd(self, fd: int) -> None:
        self._fds.remove(fd)
        os.close(fd)

    def next_of(self, *kinds: type[Message]) -> type[Message]:
        """Which of these kinds comes first; the message is taken."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for index, (message, _) in enumerate(self._inbox):
                if isinstance(message, kinds):
                    del self._inbox[index]
                    return type(message)
            self._inbox += self._receive(deadline)

    def events(self) -> list[Message]:
        """What has come and was not asked for yet, without waiting."""
        with contextlib.suppress(EOFError):
            self._inbox += self._keep(self._channel.receive())
        return [received.message for received in self._inbox]

    def hello(self) -> Snapshot:
        self.send(Hello(VERSION, self.pid))
        deadline = time.monotonic() + TIMEOUT_S
        while not any(isinstance(received.message, SnapshotEnd) for received in self._inbox):
            self._inbox += self._receive(deadline)
        snapshot = Snapshot(self.expect(Welcome), {}, {}, {}, {}, {}, [])
        ended = False
        for message, fds in self._inbox:
            match message:
                case SnapshotEnd():
                    ended = True
                case Instance() if not ended:
                    snapshot.instances[message.id] = message
                    snapshot.outputs[message.id] = fds[0]
                    snapshot.inputs.update(dict.fromkeys([message.id] if fds[1:] else [], fds[-1]))
                case Held(name) if not ended:
                    snapshot.held[name] = fds
                case Stored(key, value) if not ended:
                    snapshot.stored[key] = value
                case _:
                    snapshot.events.append(message)
        self._inbox = [received for received in self._inbox if received.message in snapshot.events]
        return snapshot

    def be_ready(self) -> Snapshot:
        snapshot = self.hello()
        self.send(Ready())
        return snapshot

    def exit(self, status: int) -> None:
        """As a core that ends by itself."""
        self._drop()
        self._control.sendall(b"x" + bytes([status]))

    def kill(self) -> None:
        """`kill -9`."""
        self._drop()
        os.kill(self.pid, signal.SIGKILL)

    def ignore_abort(self) -> None:
        """From now on only SIGKILL ends it."""
        self._control.sendall(b"d")
        assert self._control.recv(1) == b"."

    def goodbye(self, status: int) -> None:
        self.send(Goodbye(status))
        self.exit(0)

    def close(self) -> None:
        self._drop()
        self._control.close()

    def _drop(self) -> None:
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()
        self._inbox.clear()
        if self._channel.fileno() >= 0:
            self._channel.close()

    def _take(self, kind: type[Kind], fields: tuple[object, ...]) -> tuple[Kind, list[int]]:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for index, (message, fds) in enumerate(self._inbox):
                if isinstance(message, kind) and tuple(message)[: len(fields)] == fields:
                    del self._inbox[index]
                    return message, fds
            try:
                self._inbox += self._receive(deadline)
            except EOFError:
                raise AssertionError(f"the keeper hung up without {kind.__name__}{fields}") from None

    def _receive(self, deadline: float) -> list[Received]:
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise AssertionError(f"the keeper said only {[each.message for each in self._inbox]}")
        return self._keep(self._channel.receive())

    def _keep(self, messages: list[Received]) -> list[Received]:
        for received in messages:
            self._fds += received.fds
        return messages


class KeeperRun:
    """One keeper, from start to end."""

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        patience: Patience = PATIENT,
        core: Sequence[str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """`core`: another program than the scripted core; `prefix`: a program that runs the keeper."""
        self.mark = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="keeper-"))
        self.output = Transcript()
        self.status: int | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / "control"))
        self._listener.listen(8)
        self._listener.settimeout(TIMEOUT_S)
        self._cores: list[Core] = []
        program = [sys.executable, "-S", str(_SCRIPTED_CORE)] if core is None else list(core)
        self._command = [
            *prefix,
            *(sys.executable, "-c", _RUN_KEEPER, json.dumps(program), json.dumps(patience._asdict())),
            *("--", str(self.folder / "control")),
        ]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DYNOD_", "PYTHON"))},
            **abilities.environment(env),
            processes.MARK: self.mark,
        }
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        assert self._child.stderr is not None
        self.output.read("stderr", os.dup(self._child.stderr.fileno()))
        self._child.stderr.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = kind is not None
        try:
            if not failed:
                if self.status is None:
                    self._cores[-1].goodbye(0)
                    assert self.wait() == 0, f"a clean goodbye ended otherwise:\n{self.output}"
                left = processes.wait_until_gone(self.mark, timeout_s=0)
                assert not left, "processes are left:\n" + "\n".join(map(str, left))
        except BaseException:
            failed = True
            raise
        finally:
            for core in self._cores:
                core.close()
            self._listener.close()
            processes.kill_all(self.mark)
            assert self._child is not None
            self._child.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
            if failed:
                print(self.output)

    @property
    def pid(self) -> int:
        assert self._child is not None, "use it in a with statement"
        return self._child.pid

    def next_core(self) -> Core:
        """The core that the keeper starts next; the test plays it."""
        control, _ = self._listener.accept()
        control.settimeout(TIMEOUT_S)
        data, fds, _, _ = socket.recv_fds(control, 4, 1)
        core = Core(control, pid=int.from_bytes(data, "big"), keeper_fd=fds[0])
        self._cores.append(core)
        return core

    def spawn(
        self,
        instance_id: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        marks: Sequence[str] = (),
        cwd: Path | str | None = None,
        grace_s: float = 30.0,
        state: str = "",
    ) -> Spawn:
        """The request for an instance that a test's end finds again."""
        environment = {"PATH": os.environ["PATH"], processes.MARK: self.mark, **(env or {})}
        environment |= dict(mark.split("=", 1) for mark in marks)
        return Spawn(
            instance_id,
            list(argv),
            environment,
            str(cwd or self.folder),
            list(marks),
            int(signal.SIGTERM),
            grace_s,
            state,
        )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Until the keeper ends; its exit status, -N for a death by signal N."""
        assert self._child is not None
        try:
            self.status = self._child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the keeper has not ended:\n{self.output}") from None
        return self.status

    def processes(self) -> list[processes.Process]:
        return processes.marked(self.mark)


def forget(core: Core, instance_id: str) -> None:
    core.send(Forget(instance_id))


def read_until(fd: int, wanted: bytes) -> bytes:
    """What a dyno writes, until these bytes have come."""
    return _read(fd, lambda seen: wanted in seen)


def read_all(fd: int) -> bytes:
    """What a dyno has written, to the end of its pipe."""
    return _read(fd, lambda _: False)


def _read(fd: int, enough: object) -> bytes:
    assert callable(enough)
    seen = b""
    deadline = time.monotonic() + TIMEOUT_S
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not enough(seen):
        assert poll.poll(max(0.0, deadline - time.monotonic()) * 1000), f"only {seen!r} came"
        data = os.read(fd, 65536)
        if not data:
            break
        seen += data
    return seen
