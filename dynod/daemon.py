"""The core's entry: what the keeper execs. Parses the command line, makes the event loop, runs `up`.

Nothing imports this. It ignores the signals that the keeper takes, and its own exit status matters only before it was
ready (ARCHITECTURE.md, "Keeper and core").
"""

import asyncio
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click
import uvloop

from dynod.cli.main import refuse, sentence
from dynod.cli.up import UpOptions, parse
from dynod.errors import DynodError, ExitStatus
from dynod.keeper.client import KeeperClient, KeeperLostError
from dynod.keeper.features import detect
from dynod.up import Up

KEEPERS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def _run(options: UpOptions, keeper_fd: int) -> int:
    keeper = KeeperClient(keeper_fd, asyncio.get_running_loop())
    try:
        snapshot = await keeper.connect()
        up = Up(options, keeper, snapshot, detect(os.environ))
        up.prepare()
        status = await up.run()
        keeper.goodbye(status)
        return status
    finally:
        keeper.close()


def main(arguments: Sequence[str]) -> int:
    """`--keeper-fd N up …` → exit status. After an unexpected exception, a bug, the keeper starts the next core."""
    faulthandler.enable()
    for number in KEEPERS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, KEEPERS_SIGNALS)
    option, keeper_fd, verb, *rest = arguments
    if option != "--keeper-fd":
        return refuse("this is started by dynod itself; run dynod up", ExitStatus.USAGE)
    if verb != "up":
        return refuse(f'"{verb}" is not built yet', ExitStatus.USAGE)
    try:
        options = parse(rest)
        if not isinstance(options, UpOptions):
            return options
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(options, int(keeper_fd)))
    except DynodError as error:
        return refuse(str(error), error.exit_status)
    except click.UsageError as error:
        return refuse(f"{sentence(error.format_message())}; try 'dynod up --help'", ExitStatus.USAGE)
    except KeeperLostError:
        return ExitStatus.SOFTWARE  # killed before it had started anything
    except Exception:  # noqa: BLE001 - the outermost boundary: a bug shows as one, with its own exit status
        traceback.print_exc()
        return ExitStatus.SOFTWARE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
