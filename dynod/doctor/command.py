"""`dynod doctor`: the verb. Reads, runs and reports; what that comes to is decided in `core/doctor*`.

Needs no daemon: it starts a `dynod up` of its own in a scratch place, and ends it. May import app_folder, cli.check and
cli.terminal, settings, the API's client, container_tools, process.sockets, core and errors.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click

from dynod.app_folder import AppFolder
from dynod.cli.check import examine
from dynod.cli.terminal import show, wants_colour
from dynod.core import doctor_report
from dynod.core.command import analyse
from dynod.core.doctor import LIVE, Check, Examination, Finding, Ledger, Verdict
from dynod.core.doctor_time import OUT_OF_TIME, OutOfTimeError, TimeLeft
from dynod.core.formation import RELEASE
from dynod.doctor.app_code import find_secrets, find_undeclared, judge_files, read_code
from dynod.doctor.formation import END_S, READ_ONLY, WEB, Formation
from dynod.doctor.live import Limits, LiveExamination
from dynod.doctor.scratch import Scratch
from dynod.errors import DynodError, ExitStatus, UsageError
from dynod.settings import load_settings

WHOLE_S: Final = 60.0  # an examination takes no longer (issue: doctor in CI)
SPARE_S: Final = 2.0  # of that, for what has no deadline: the interpreter's start, folders that are removed, the report
READING: Final = 0.3  # of that at most is spent on the app's files
SETTINGS: Final = "dynod.toml"
_COLOURS: Final = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.NOT_CHECKED: "yellow"}


@click.command("doctor")
@click.argument("folder", default=".", metavar="[DIR]")
@click.option("-f", "--procfile", metavar="FILE", help="A Procfile of another name, relative to the folder.")
@click.option(
    "-e", "--env", "env_files", multiple=True, metavar="FILE", help="A .env file; repeatable, later ones win."
)
@click.option("--release", is_flag=True, help="Run the release process first, as the app may need its tables.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as JUnit's XML too.")
def command(  # noqa: PLR0917 (click passes by name)
    folder: str, procfile: str | None, env_files: tuple[str, ...], release: bool, as_json: bool, junit: Path | None
) -> int:
    """Check an app for the twelve factors: boot it in a scratch formation, and see how it behaves.

    Only its web process is started, with the environment that `dynod up` would give it; the folder is left as it is.
    Takes at most 60 seconds. Exits 1 where a check failed, else 0.
    """
    if junit is not None and not junit.parent.is_dir():
        raise UsageError(f"--junit {junit}: there is no folder {junit.parent}")
    with _ending_in_order():
        examination = examined(Path(folder), procfile, env_files, release=release)
    if as_json:
        show(json.dumps(doctor_report.document(examination), indent=2, ensure_ascii=False))
    else:
        _print(examination)
    if junit is not None:
        try:
            junit.write_text(doctor_report.junit(examination), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--junit {junit}: {error.strerror or error}") from error
    return ExitStatus.DONE if examination.is_sound else ExitStatus.REFUSED


def examined(
    folder: Path, procfile: str | None, env_files: Sequence[str], *, release: bool, whole_s: float = WHOLE_S
) -> Examination:
    """The whole examination, within `whole_s`; nothing of it is left behind.

    Raises DynodError where there is nothing to examine.
    """
    began = time.monotonic()
    time_left = TimeLeft(ends_at=began + whole_s - SPARE_S, clock=time.monotonic)
    app, faults = examine(
        folder,
        procfile=Path(procfile) if procfile else None,
        env_files=[Path(name) for name in env_files] or None,
    )
    ledger = Ledger()
    ledger.asked(Check.APP_FILES, judge_files(faults))
    _read(app.folder, ledger, time_left.at_most(whole_s * READING))
    if faults:
        ledger.not_asked(LIVE, "what is wrong with its files comes first")
    elif WEB not in {declared.name for declared in app.types}:
        ledger.not_asked(LIVE, "it has no web process")
    else:
        try:
            _run(app, env_files, ledger, time_left, release=release)
        except OutOfTimeError:  # before there was a formation
            ledger.not_asked(LIVE, OUT_OF_TIME)
    took_s = time.monotonic() - began
    return Examination(app=app.name, folder=str(app.folder), results=ledger.results(), took_s=took_s)


def _read(folder: Path, ledger: Ledger, time_left: TimeLeft) -> None:
    """The half that starts nothing. What was found before the time was over counts."""
    try:
        code = read_code(folder, time_left)
    except OutOfTimeError:
        ledger.not_asked([Check.SECRETS, Check.DEPENDENCIES], OUT_OF_TIME)
        return
    for check, looks in ((Check.SECRETS, find_secrets), (Check.DEPENDENCIES, find_undeclared)):
        findings: list[Finding] = []
        try:
            findings.extend(looks(code))
        except OutOfTimeError:
            ledger.not_asked([check], OUT_OF_TIME)
            if not findings:
                continue
        ledger.asked(check, findings)


def _run(app: AppFolder, env_files: Sequence[str], ledger: Ledger, time_left: TimeLeft, *, release: bool) -> None:
    toml = app.folder / SETTINGS
    rules = load_settings(toml if toml.exists() else None, environ=os.environ, verb="up").dyno_rules(WEB, rows={})
    limits = Limits(boot_s=rules.boot_timeout_s, grace_s=rules.grace_s, time_left=time_left.keeping(END_S))
    with Scratch(app.folder, time_left) as scratch:
        commands = _commands(app, scratch, release=release)
        with Formation(
            scratch, app=app.name, commands=commands, env_files=env_files, release=release, time_left=time_left
        ) as formation:
            live = LiveExamination(formation, scratch, ledger, limits)
            try:
                live.run()
            except DynodError as error:
                ledger.not_asked(LIVE, f"the scratch formation failed: {error}")
            formation.end()
        live.judge_at_end()


def _commands(app: AppFolder, scratch: Scratch, *, release: bool) -> dict[str, str]:
    wanted = {WEB, RELEASE} if release else {WEB}
    commands = {declared.name: declared.command for declared in app.types if declared.name in wanted}
    argv = analyse(commands[WEB], shell=shutil.which("bash") or "/bin/sh").argv
    read_only = scratch.read_only(argv)
    return {**commands, READ_ONLY: read_only} if read_only is not None else commands


def _print(examination: Examination) -> None:
    colour = wants_colour(sys.stdout)
    for verdict, line in doctor_report.lines(examination):
        show(click.style(line, fg=_COLOURS[verdict]) if colour and verdict is not None else line)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the doctor as Ctrl-C does: by way of every `with`, so that nothing is left."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
