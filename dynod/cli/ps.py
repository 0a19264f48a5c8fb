"""`dynod ps` and its family: look at dynos, scale them, restart and stop them, wait for them.

Arguments in, one or two calls of the API, Heroku's output. Where Heroku's command line drops an argument that it does
not understand, this one refuses: a typing error in a script would otherwise scale nothing and succeed.
"""

import contextlib
import math
import re
import time
from datetime import UTC, datetime
from typing import Final

import click

from dynod.cli import ps_text
from dynod.cli.release_wait import LOOK_AGAIN_S
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import HELD, action, app_name, show, tell
from dynod.core.suggest import did_you_mean
from dynod.errors import DynodError, UsageError
from dynod.platform_api.requests import ApiError

QUANTITY: Final = re.compile(r"([A-Za-z0-9_-]+?)([=+-][0-9]+)(?::([A-Za-z0-9_-]+))?")


LONGEST_QUANTITY: Final = 8  # characters, the sign among them


class NotUpError(DynodError):
    """`ps:wait` has waited long enough."""

    code = "not_up"


class NoDynosError(DynodError):
    """There are no dynos of the type asked for."""

    code = "no_dynos"


@click.command("ps")
@click.argument("types", nargs=-1, metavar="[TYPE …]")
@click.option("--why", metavar="DYNO", help="How this dyno came to its state: starts, crashes, who asked for what.")
@with_session
def ps(session: Session, types: tuple[str, ...], why: str | None) -> None:
    """List the dynos of an app, with their states.

    With TYPE arguments only those process types are shown.
    """
    now = datetime.now(UTC)
    if why is not None:
        if types:
            raise UsageError("--why is about one dyno: leave the process types out")
        dyno = session.client.dyno(session.app, why)
        if session.as_json:
            session.show_json(dyno)
        else:
            show("\n".join(ps_text.why_lines(dyno, now)))
        return
    dynos = session.client.dynos(session.app)
    present = {dyno["type"] for dyno in dynos}
    missing = [name for name in types if name not in present]
    if missing:
        declared = [entry["type"] for entry in session.client.formation(session.app)]
        hint = f"; start one with `dynod ps:scale {missing[0]}=1`"
        if missing[0] not in declared or missing[0] == ps_text.RELEASE:
            hint = did_you_mean(missing[0], [*present, *declared])
        raise NoDynosError(f"No {' or '.join(missing)} dynos on {app_name(session.app)}{hint}")
    shown = [dyno for dyno in dynos if not types or dyno["type"] in types]
    if session.as_json:
        session.show_json(shown)
    elif shown:
        show("\n".join(ps_text.dyno_lines(shown, now)))
    else:
        show(f"No dynos on {app_name(session.app)}")
        with contextlib.suppress(ApiError):  # an aside: what was asked has been answered
            if session.client.status()["held"]:
                tell(HELD)


@click.command("ps:scale", context_settings={"ignore_unknown_options": True})
@click.argument("changes", nargs=-1, metavar="[TYPE=N[:SIZE] | TYPE+N | TYPE-N …]")
@with_session
def scale(session: Session, changes: tuple[str, ...]) -> None:
    """Change how many dynos of each process type run: web=2, worker+1, worker-1, several at once.

    Dynos that run are left alone. Without arguments the formation is shown, as ps:scale takes it.
    """
    updates = [_update(change) for change in changes]
    if not updates:
        formation = session.client.formation(session.app)
        if session.as_json:
            session.show_json(formation)
        elif text := ps_text.quantities(formation):
            show(text)
        else:
            show(f"No process types on {app_name(session.app)}.\nAdd a Procfile to add process types.")
        return
    app = session.app
    with action("Scaling dynos") as outcome:
        scaled = session.client.scale(app, updates)
        outcome.text = f"done, {ps_text.now_running(scaled)}"
    if session.as_json:
        session.show_json(scaled)


@click.command("ps:restart")
@click.argument("which", required=False, metavar="[TYPE | DYNO]")
@click.option("-p", "--process-type", metavar="TYPE", help="Restart the dynos of this process type.")
@click.option("-d", "--dyno-name", metavar="DYNO", help="Restart this dyno.")
@with_session
def restart(session: Session, which: str | None, process_type: str | None, dyno_name: str | None) -> None:
    """Restart one dyno, a process type, or all dynos.

    Web dynos are replaced one after the other, each once its successor is up. Returns when that has begun; ps:wait
    waits for its end.
    """
    process_type, dyno = _one_of(which, process_type, dyno_name)
    app = session.app
    with action(f"Restarting {_named(process_type, dyno)} on {app_name(app)}"):
        session.client.restart(app, process_type=process_type, dyno=dyno)
    if session.as_json:
        session.show_json({"app": app, "type": process_type, "dyno": dyno})


@click.command("ps:stop")
@click.argument("which", required=False, metavar="TYPE | DYNO")
@click.option("-p", "--process-type", metavar="TYPE", help="Stop the dynos of this process type.")
@click.option("-d", "--dyno-name", metavar="DYNO", help="Stop this dyno.")
@with_session
def stop(session: Session, which: str | None, process_type: str | None, dyno_name: str | None) -> None:
    """Stop a one-off dyno, or all of them by "run". A dyno of the formation comes back: ps:scale removes it."""
    process_type, dyno = _one_of(which, process_type, dyno_name)
    if process_type is None and dyno is None:
        raise UsageError("Please specify a process type or dyno name to stop.")
    app = session.app
    with action(f"Stopping {_named(process_type, dyno)} on {app_name(app)}"):
        session.client.stop(app, process_type=process_type, dyno=dyno)
    if session.as_json:
        session.show_json({"app": app, "type": process_type, "dyno": dyno})


@click.command("ps:wait")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Give up after S seconds.")
@with_session
def wait(session: Session, timeout_s: float | None) -> None:
    """Wait until every dyno of the formation is up and of the latest release, and every restart is over.

    One-off dynos do not count. Without --timeout it waits as long as it takes.
    """
    if timeout_s is not None and math.isnan(timeout_s):
        raise UsageError("--timeout: expected seconds, found nan")
    client, app = session.client, session.app
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with action(f"Waiting for every dyno of {app_name(app)} to be up"):
        while missing := ps_text.not_up(client.formation(app), client.dynos(app)):
            if deadline is not None and time.monotonic() >= deadline:
                states = ", ".join(f"{name} {state}" for name, state in missing.items())
                raise NotUpError(f"not up after {timeout_s:g} s: {states}")
            time.sleep(LOOK_AGAIN_S)
    if session.as_json:
        session.show_json(client.dynos(app))


@click.command("ps:type")
@click.argument("changes", nargs=-1, metavar="[SIZE | TYPE=SIZE …]")
@with_session
def size(session: Session, changes: tuple[str, ...]) -> None:
    """Show or change the dyno size of process types; a change restarts their dynos.

    A size limits memory, as on Heroku; "Unsized", the default, has no limit.
    """
    client, app = session.client, session.app
    formation = client.formation(app)
    if changes:
        known = sorted(entry["type"] for entry in formation if entry["type"] != ps_text.RELEASE)
        with action(f"Scaling dynos on {app_name(app)}"):
            client.scale(app, _sizes(changes, known))
        formation = client.formation(app)
    if session.as_json:
        session.show_json(formation)
    elif formation:
        show("\n".join(ps_text.size_lines(formation, client.sizes())))
    else:
        tell(f"No process types on {app_name(app)}.")


def _update(change: str) -> dict[str, str]:
    match = QUANTITY.fullmatch(change)
    if match is None:
        raise UsageError(f'expected TYPE=N, TYPE+N or TYPE-N, found "{change}"; for example: web=2 worker+1')
    process_type, quantity, named = match.groups()
    if len(quantity) > LONGEST_QUANTITY:
        raise UsageError(f'"{change[:60]}": no app has that many dynos')
    update = {"type": process_type, "quantity": quantity.removeprefix("=")}
    return {**update, "size": named} if named else update


def _sizes(changes: tuple[str, ...], known: list[str]) -> list[dict[str, str]]:
    if len(changes) == 1 and "=" not in changes[0]:
        return [{"type": name, "size": changes[0]} for name in known]
    updates = []
    for change in changes:
        name, equals, named = change.partition("=")
        if not equals or not name or not named:
            raise UsageError(f'expected TYPE=SIZE, found "{change}"; for example: web=standard-2x')
        if name not in known:
            hint = did_you_mean(name, known) or "."
            raise UsageError(f"Type {name} not found in process formation{hint}\nTypes: {', '.join(known)}")
        updates.append({"type": name, "size": named})
    return updates


def _one_of(which: str | None, process_type: str | None, dyno: str | None) -> tuple[str | None, str | None]:
    """Process type or dyno, however it was given: a dyno's name has a dot."""
    given = [value for value in (which, process_type, dyno) if value is not None]
    if len(given) > 1:
        raise UsageError(f"one process type or one dyno, not {len(given)}: {', '.join(given)}")
    if which is not None:
        return (None, which) if "." in which else (which, None)
    return process_type, dyno


def _named(process_type: str | None, dyno: str | None) -> str:
    if dyno is not None:
        return f"dyno {dyno}"
    return f"all {process_type} dynos" if process_type is not None else "all dynos"
