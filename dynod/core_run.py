"""One core: parses the command line, makes the event loop, runs `up` or `serve`.

Only `dynod.daemon` imports this. Its exit status matters only before it was ready (ARCHITECTURE.md, "Processes").
"""

import asyncio
import gc
import os
import traceback
from collections.abc import Sequence
from typing import Protocol

import click
import uvloop

from dynod.cli.main import refuse, sentence
from dynod.cli.serve import ServeOptions
from dynod.cli.serve import parse as parse_serve
from dynod.cli.up import UpOptions
from dynod.cli.up import parse as parse_up
from dynod.errors import DynodError, ExitStatus
from dynod.keeper.client import KeeperClient, KeeperLostError, Snapshot
from dynod.keeper.features import detect
from dynod.serve_settings import check_settings, settings_of
from dynod.tls_trust import left_unread
from dynod.up_plan import plan_of


async def _run(options: UpOptions | ServeOptions, keeper_fd: int) -> int:
    keeper = KeeperClient(keeper_fd, asyncio.get_running_loop())
    try:
        snapshot = await keeper.connect()
        if snapshot.rehearses:
            _rehearse(options, snapshot)
            snapshot = await keeper.stand_by()
        verb = _verb(options, keeper, snapshot)
        verb.prepare()
        status = await verb.run()
        if status is None:
            keeper.part()
            return ExitStatus.DONE
        keeper.goodbye(status)
        return status
    finally:
        keeper.close()


class Verb(Protocol):
    """What the daemon does, from a keeper's snapshot on."""

    def prepare(self) -> None: ...
    async def run(self) -> int | None: ...  # None: another core is in charge now


def _rehearse(options: UpOptions | ServeOptions, snapshot: Snapshot) -> None:
    """Contracts 1: a new core tries all that it can before the old one lets go. Raises DynodError."""
    if not isinstance(options, ServeOptions):
        raise DynodError("dynod up is not upgraded while it runs")
    with left_unread():
        from dynod.serve import rehearse_start  # noqa: PLC0415 (as in _verb)

    rehearse_start(options, snapshot.stored)


def _verb(options: UpOptions | ServeOptions, keeper: KeeperClient, snapshot: Snapshot) -> Verb:
    """Each verb's parts are imported only where it runs, and once what it is to do has been read: that takes 0.1 s of
    CPU, its parts as much again or, of `serve`, 0.3 s, and a mistake in the app's files or in the settings is told
    without them.

    Without a garbage collector until then (`dynod.daemon`), and with what is there left out of it for good: of `serve`
    56,000 objects. So a full collection, while every request waits, does not walk over them for 17 ms (gc.collect
    after the imports, without freeze).
    """
    features = detect(os.environ)
    verb: Verb
    if isinstance(options, UpOptions):
        plan = plan_of(options, snapshot.stored)
        from dynod.up import Up  # noqa: PLC0415 (see above)

        verb = Up(options, keeper, snapshot, features, plan)
    else:
        settings = settings_of(options, snapshot.stored)
        with left_unread():
            from dynod.serve import Serve  # noqa: PLC0415 (see above)

        verb = Serve(options, keeper, snapshot, features, settings)
    gc.freeze()
    gc.enable()
    return verb


def run(arguments: Sequence[str]) -> int:
    """`--keeper-fd N VERB …` → exit status. After an unexpected exception, a bug, the keeper starts the next core."""
    option, keeper_fd, verb, *rest = arguments
    if option != "--keeper-fd":
        return refuse("this is started by dynod itself; run dynod up", ExitStatus.USAGE)
    try:
        options = parse_up(rest) if verb == "up" else parse_serve(rest)
        if isinstance(options, int):
            return options
        if isinstance(options, ServeOptions) and options.check:
            check_settings(options)
            return ExitStatus.DONE
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(options, int(keeper_fd)))
    except DynodError as error:
        return refuse(str(error), error.exit_status)
    except click.UsageError as error:
        return refuse(f"{sentence(error.format_message())}; try 'dynod {verb} --help'", ExitStatus.USAGE)
    except KeeperLostError:
        return ExitStatus.SOFTWARE  # killed before it had started anything
    except Exception:  # noqa: BLE001 - the outermost boundary: a bug shows as one, with its own exit status
        traceback.print_exc()
        return ExitStatus.SOFTWARE
