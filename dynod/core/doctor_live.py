"""What to make of what was seen of an app that ran: observations in, findings out. Pure.

Each judgement is about one check, and is given all that could excuse the app: a limit that is the app's own setting, a
comparison with the same thing under ordinary conditions. The second stop of `core/doctor`; what sees is `dynod.doctor`.
"""

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dynod.core.boot import Address
from dynod.core.doctor import Check, Finding

LATE_LINE_S: Final = 2.0  # a line of a request that comes so long after the router's about the same one was held back
MOST_NAMED: Final = 3  # files in one message
_CACHES: Final = ("__pycache__/", ".dynod/", ".pytest_cache/", ".mypy_cache/")
_DATABASES: Final = (".sqlite", ".sqlite3", ".db")
_BESIDE_DATABASES: Final = ("-wal", "-shm", "-journal")


class Boot(Enum):
    """How the first boot of the web dyno ended."""

    UP = auto()
    ELSEWHERE = auto()  # it listens, and not on PORT
    EXITED = auto()
    NOT_IN_TIME = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSeen:
    """The first dyno, alone. `cause`: what the log says of an exit; `last`: the last line that it wrote."""

    how: Boot
    after_s: float
    limit_s: float
    port: int | None = None
    listens: tuple[Address, ...] = ()
    status: int | None = None
    cause: str = ""
    last: str = ""
    answered: bool = True


def judge_boot(seen: BootSeen, *, dyno: str) -> Iterator[Finding]:
    """Check.BOOT; a dyno that listens elsewhere has booted, and Check.PORT has more to say about it."""
    if seen.how is Boot.EXITED:
        said = seen.cause or (f"its last line: {seen.last}" if seen.last else "it wrote nothing")
        status = f" with status {seen.status}" if seen.status is not None else ""
        yield Finding(
            check=Check.BOOT,
            what=f"the process ended{status} before it listened on its PORT; {said}",
            where=dyno,
            to_do="start it with `dynod up` and read its log; what it needs of its surroundings belongs into .env",
        )
    elif seen.how is Boot.NOT_IN_TIME:
        yield Finding(
            check=Check.BOOT,
            what=f"nothing listened after {seen.after_s:.0f} s; the limit is {seen.limit_s:.0f} s (Heroku's R10)",
            where=dyno,
            to_do="listen first and load the rest afterwards, or do the work before: in a build or the release process",
        )
    elif seen.how is Boot.UP and not seen.answered:
        yield Finding(
            check=Check.BOOT,
            what="it listens, and a first GET / has had no answer",
            where=dyno,
            to_do="listen only once requests can be answered; a GET / must not wait for anything but the app itself",
        )


def judge_port(seen: BootSeen, *, dyno: str) -> Iterator[Finding]:
    """Check.PORT: which port, and whether others than this machine could reach it, as Heroku and containers need."""
    if seen.how is Boot.ELSEWHERE:
        yield Finding(
            check=Check.PORT,
            what=f"it listens on {_places(seen.listens)}, and its PORT is {seen.port}",
            where=dyno,
            to_do="read the port from the variable PORT, or pass $PORT in the Procfile's command",
        )
        return
    mine = [address for address in seen.listens if address.port == seen.port]
    if mine and all(_is_loopback(address) for address in mine):
        yield Finding(
            check=Check.PORT,
            what=f"it listens on {_places(mine)} alone: dynod's router reaches it there, Heroku's (R10) or a "
            "container's does not",
            where=dyno,
            to_do="bind 0.0.0.0, or :: for both protocols: --host 0.0.0.0, --bind 0.0.0.0:$PORT or the like",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondSeen:
    """A second instance that was started while the first one ran; both have to answer then."""

    up: bool
    answers: bool
    first_answers: bool
    last: str = ""


def judge_second(seen: SecondSeen, *, first: str, second: str) -> Iterator[Finding]:
    """Check.SECOND."""
    to_do = (
        "share nothing by a fixed name: no second port but PORT, no lock file, no socket; several dynos are the rule"
    )
    if not seen.up:
        said = f"; its last line: {seen.last}" if seen.last else ""
        what = f"a second instance does not come up while the first one runs{said}"
        yield Finding(check=Check.SECOND, what=what, where=second, to_do=to_do)
    elif not seen.answers:
        what = "a second instance listens, and does not answer while the first one runs"
        yield Finding(check=Check.SECOND, what=what, where=second, to_do=to_do)
    elif not seen.first_answers:
        what = "the first instance no longer answers once there is a second one"
        yield Finding(check=Check.SECOND, what=what, where=first, to_do=to_do)


class Hold(Enum):
    """What a slow client does; the value is how the report says it."""

    IDLE = "keeps an idle connection open"
    UPLOAD = "uploads slowly"
    READING = "does not read its answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowSeen:
    """Whether somebody else's GET / was answered while one client was slow, and whether it was once that one had left.

    Only both together say that the slow client was the reason.
    """

    hold: Hold
    answered_meanwhile: bool
    answered_afterwards: bool
    waited_s: float


def judge_slow(seen: Sequence[SlowSeen], *, dyno: str) -> Iterator[Finding]:
    """Check.SLOW_CLIENTS."""
    blocking = [each for each in seen if not each.answered_meanwhile and each.answered_afterwards]
    if blocking:
        how = " or ".join(each.hold.value for each in blocking)
        yield Finding(
            check=Check.SLOW_CLIENTS,
            what=f"one client that {how} keeps all others waiting (no answer in {blocking[0].waited_s:.0f} s)",
            where=dyno,
            to_do="serve each connection on its own: threads, an event loop, or several workers",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFolderSeen:
    """The same app with a code folder that it could write to, and with one that it could not.

    `read_only` is None where that could not be tried. `written`: files below the folder that it has made or changed.
    """

    written: tuple[str, ...]
    read_only: bool | None
    how: str = ""
    last: str = ""


def judge_code_folder(seen: CodeFolderSeen) -> Iterator[Finding]:
    """Check.CODE_FOLDER: needed is what it fails without. A database file is a note: production may name another."""
    written = [name for name in seen.written if not is_cache(name) and not is_log(name)]
    kept = [name for name in written if not is_database(name)]
    databases = [name for name in written if is_database(name)]
    if seen.read_only is False and (kept or not (databases or any(map(is_log, seen.written)))):
        told = f"; it writes {_named(kept)}" if kept else ""
        yield Finding(
            check=Check.CODE_FOLDER,
            what=f"with a code folder that it cannot write to, it {seen.how or 'fails'}{told}",
            where=kept[0] if kept else seen.last or "the code folder",
            to_do="write to the folder for temporary files (TMPDIR), or keep it in a database or in storage: what "
            "dynos write to their code is gone with the next restart",
        )
    elif databases:
        yield Finding(
            check=Check.CODE_FOLDER,
            what="holds data and lies in the code folder, which each release and restart begins anew",
            where=databases[0],
            to_do="name the database by a config var (DATABASE_URL), as production should do already",
            note=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsSeen:
    """What is known of a request's own line in the app's output, and of files that look like logs.

    `late_s`: how long after the router's line about it; None where none came. `only_at_end`: it came once the dynos
    were told to end. `files`: log files that its processes hold open, or have written in the code folder.
    """

    late_s: float | None = None
    only_at_end: bool = False
    files: tuple[str, ...] = ()


def judge_logs(seen: LogsSeen, *, dyno: str) -> Iterator[Finding]:
    """Check.LOGS."""
    if seen.files:
        yield Finding(
            check=Check.LOGS,
            what=f"it logs to {_named(seen.files)}, which nobody can follow and the next restart discards",
            where=seen.files[0],
            to_do="write the log to stdout, and leave it to the platform where it goes",
        )
    if seen.late_s is not None and seen.late_s > LATE_LINE_S:
        when = "only when the process ended" if seen.only_at_end else f"{seen.late_s:.0f} s late"
        yield Finding(
            check=Check.LOGS,
            what=f"the line about a request came {when}: stdout is buffered, and a crash loses what waits",
            where=dyno,
            to_do="flush after each line: PYTHONUNBUFFERED=1 or flush=True, $stdout.sync = true, setlinebuf(stdout)",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSeen:
    """SIGTERM to every process of a dyno, as the platform sends it, while requests were in flight.

    `in_flight` and `answered` count requests that the app had read whole and not begun to answer; None where that
    cannot be seen on this system.
    """

    ended_s: float | None
    limit_s: float
    in_flight: int | None = None
    answered: int = 0


def judge_stop(seen: StopSeen, *, dyno: str) -> Iterator[Finding]:
    """Check.SIGTERM and Check.IN_FLIGHT."""
    if seen.ended_s is None:
        yield Finding(
            check=Check.SIGTERM,
            what=f"it still runs {seen.limit_s:.0f} s after SIGTERM, and would be killed (Heroku's R12)",
            where=dyno,
            to_do="end on SIGTERM: no handler that only notes it, no shell in front of the program (write `exec`)",
        )
    if seen.in_flight and seen.answered < seen.in_flight:
        lost = seen.in_flight - seen.answered
        requests = "request" if seen.in_flight == 1 else "requests"
        yield Finding(
            check=Check.IN_FLIGHT,
            what=f"{lost} of {seen.in_flight} {requests} in flight had no answer: SIGTERM ends the process at once",
            where=dyno,
            to_do="on SIGTERM stop accepting, answer what is under way, then exit; most app servers do so unasked",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSeen:
    """SIGKILL to every process of a dyno at once, and what its successor did."""

    up: bool
    limit_s: float
    last: str = ""


def judge_kill(seen: KillSeen, *, dyno: str) -> Iterator[Finding]:
    """Check.SIGKILL."""
    if not seen.up:
        said = f"; its last line: {seen.last}" if seen.last else ""
        yield Finding(
            check=Check.SIGKILL,
            what=f"after SIGKILL its successor is not up within {seen.limit_s:.0f} s{said}",
            where=dyno,
            to_do="start whatever a predecessor left: no PID file or lock file that must be gone (flock ends with its "
            "process)",
        )


def is_log(name: str) -> bool:
    """Whether a file is a log by its name."""
    base = name.rpartition("/")[2]
    return base.endswith((".log", ".out")) or ".log." in base


def is_cache(name: str) -> bool:
    """Whether a file is something that is made again where it is missing, or dynod's own."""
    return name.endswith((".pyc", ".pyo")) or any(f"/{name}".find(f"/{cache}") >= 0 for cache in _CACHES)


def is_database(name: str) -> bool:
    """Whether a file is a SQLite database, or what SQLite keeps beside one."""
    for suffix in _BESIDE_DATABASES:
        name = name.removesuffix(suffix)
    return name.endswith(_DATABASES)


def _places(addresses: Collection[Address]) -> str:
    return ", ".join(map(str, sorted(addresses)))


def _named(files: Sequence[str]) -> str:
    more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
    return ", ".join(files[:MOST_NAMED]) + more


def _is_loopback(address: Address) -> bool:
    host = ipaddress.ip_address(address.host.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped.is_loopback
    return host.is_loopback
