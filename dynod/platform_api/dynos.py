"""`/apps/:app/dynos`: look at them, run one-off ones, enter them, restart them, stop them."""

import shutil
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.ranges import by_name_and_number
from dynod.operations import DynoView, OneOffRequest
from dynod.platform_api import serializers
from dynod.platform_api.connection import is_tcp
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import accepted, answer, answer_list, member, operations, over_tcp, read_body
from dynod.platform_api.peer import asker

LONGEST_COMMAND: Final = 128 * 1024  # characters; Linux takes no longer argument (MAX_ARG_STRLEN, execve(2))
LONGEST_LIFE_S: Final = 365 * 86_400
ROWS: Final = 24  # of a terminal whose client does not say
COLUMNS: Final = 80
MOST_CELLS: Final = 65_535  # struct winsize has unsigned shorts
ATTRIBUTES: Final = (member("name", by_name_and_number), member("id"))

routes = web.RouteTableDef()


@routes.get("/apps/{app}/dynos")
async def list_dynos(request: web.Request) -> web.Response:
    """Every dyno, one-off ones included."""
    views = operations(request).dynos(request.match_info["app"])
    return answer_list(request, [serializers.dyno(view) for view in views], ATTRIBUTES)


class NewDyno(msgspec.Struct, frozen=True):
    """The body of POST, as Heroku has it. `LINES` and `COLUMNS` of `env` are the terminal's first size."""

    command: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_COMMAND)]
    attach: bool | None = None
    env: dict[str, str | int] | None = None
    force_no_tty: bool | None = None
    size: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    type: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    time_to_live: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LIFE_S)] | None = None


@routes.post("/apps/{app}/dynos")
async def run(request: web.Request) -> web.Response:
    """Run a command in a one-off dyno; attached, it begins once a client has come to `attach_url`."""
    body = await read_body(request, NewDyno)
    environment = {name: str(value) for name, value in (body.env or {}).items()}
    reached_at = await _rendezvous(request) if body.attach else None
    view = operations(request).run(
        request.match_info["app"],
        OneOffRequest(
            command=body.command,
            environment=environment,
            attach=bool(body.attach),
            window=_window(environment) if body.attach and not body.force_no_tty else None,
            size=body.size,
            process_type=body.type,
            time_to_live_s=body.time_to_live,
        ),
        by=asker(request),
    )
    return answer(serializers.dyno(view, reached_at=reached_at), HTTPStatus.CREATED)


async def _rendezvous(request: web.Request) -> str | None:
    """Over TCP: the address by which the client has come, where the rendezvous is too. Raises RefusedError."""
    if not is_tcp(request):
        return None
    try:
        await over_tcp(request).authority.context()  # before anything is started that nobody could attach to
    except OSError as error:
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"No rendezvous without a certificate: {error.strerror or error}."
        ) from error
    host = request.host
    if host.rpartition(":")[2].isdigit() and not host.endswith("]"):
        return host
    return f"{host}:80"


def _window(environment: Mapping[str, str]) -> tuple[int, int]:
    rows, columns = (environment.get(name, "") for name in ("LINES", "COLUMNS"))
    return _cells(rows, ROWS), _cells(columns, COLUMNS)


def _cells(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) <= MOST_CELLS else default


@routes.delete("/apps/{app}/dynos")
async def restart_all(request: web.Request) -> web.Response:
    """Restart every dyno of the formation."""
    operations(request).restart(request.match_info["app"], None, by=asker(request))
    return accepted()


@routes.get("/apps/{app}/dynos/{dyno}")
async def info(request: web.Request) -> web.Response:
    """One dyno, by name or id."""
    return answer(serializers.dyno(_dyno(request)))


@routes.delete("/apps/{app}/dynos/{dyno}")
async def restart(request: web.Request) -> web.Response:
    """Restart one dyno."""
    view = _dyno(request)
    operations(request).restart(view.app.id, view.name, by=asker(request))
    return accepted()


@routes.post("/apps/{app}/dynos/{dyno}/actions/stop")
async def stop(request: web.Request) -> web.Response:
    """Stop one dyno; one of the formation comes back."""
    view = _dyno(request)
    operations(request).stop(view.app.id, view.name, by=asker(request))
    return accepted()


class NewSession(msgspec.Struct, frozen=True):
    """The body of exec, dynod's own; its members are those of a one-off dyno, and a shell is the default."""

    command: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_COMMAND)] | None = None
    env: dict[str, str | int] | None = None
    force_no_tty: bool | None = None


@routes.post("/apps/{app}/dynos/{dyno}/actions/exec")
async def enter(request: web.Request) -> web.Response:
    """Run a command where a dyno runs, in its environment; it begins once a client has come to `attach_url`."""
    body = await read_body(request, NewSession)
    environment = {name: str(value) for name, value in (body.env or {}).items()}
    reached_at = await _rendezvous(request)
    dyno = _dyno(request)
    asked = OneOffRequest(
        command=body.command or Path(shutil.which("bash") or "sh").name,
        environment=environment,
        attach=True,
        window=None if body.force_no_tty else _window(environment),
    )
    view = operations(request).enter(dyno.app.id, dyno.name, asked, by=asker(request))
    return answer(serializers.dyno(view, reached_at=reached_at), HTTPStatus.CREATED)


class TerminalSize(msgspec.Struct, frozen=True):
    """The body of attach, dynod's own."""

    rows: Annotated[int, msgspec.Meta(ge=1, le=MOST_CELLS)] = ROWS
    columns: Annotated[int, msgspec.Meta(ge=1, le=MOST_CELLS)] = COLUMNS


@routes.post("/apps/{app}/dynos/{dyno}/actions/attach")
async def put_on_terminal(request: web.Request) -> web.Response:
    """Restart a dyno on a terminal, unless it is on one, and say where to attach to it."""
    body = await read_body(request, TerminalSize)
    dyno = _dyno(request)
    view = operations(request).put_on_terminal(dyno.app.id, dyno.name, (body.rows, body.columns), by=asker(request))
    return answer(serializers.dyno(view))


def _dyno(request: web.Request) -> DynoView:
    """The dyno itself, so that the name of a process type is not taken for all its dynos here. Raises NotFoundError."""
    return operations(request).dyno(request.match_info["app"], request.match_info["dyno"])
