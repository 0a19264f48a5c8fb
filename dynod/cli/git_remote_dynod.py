"""`git-remote-dynod`: what git runs for a remote whose URL begins with `dynod::` (gitremote-helpers(7)).

    git ⇄ stdin, stdout ⇄ control socket of the dynod meant, here or over ssh ⇄ git of that dynod

It knows one capability, `connect`: from then on the two gits talk to each other, and nothing of it is looked at.
"""

import os
import sys
from typing import Final, NoReturn

from dynod.cli.joined_stdio import join
from dynod.core.git_push import SERVICES
from dynod.core.git_remote import parse_remote
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import daemon_of

ARGUMENTS: Final = 3  # its name, the remote's, and the URL without `dynod::`
CONNECT: Final = "connect "
LONGEST_COMMAND: Final = 1000  # bytes


def main() -> NoReturn:
    """Do what git asks for, a line each; end as git expects it."""
    if len(sys.argv) != ARGUMENTS:
        _give_up("this is for git to run: git push dynod main")
    try:
        _serve(sys.argv[2])
    except DynodError as error:
        _give_up(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _serve(url: str) -> None:
    remote = parse_remote(url, source="the URL of the remote")
    while command := _read_command():
        if command == "capabilities":
            os.write(1, b"connect\n\n")
        elif command.startswith(CONNECT) and command.removeprefix(CONNECT) in SERVICES:
            # Not the folder's daemon: the URL has said which one.
            client = ApiClient(daemon_of(remote, os.environ, source="the URL of the remote"))
            connection, first = client.git(remote.app, command.removeprefix(CONNECT))
            os.write(1, b"\n")
            join(connection, first)
        elif command.startswith(CONNECT):
            os.write(1, b"fallback\n")
        else:
            _give_up(f'git asks for "{command}", which this does not know')


def _read_command() -> str:
    """A line, and not a byte of what comes after it. Empty: git has nothing more to ask."""
    read = b""
    while not read.endswith(b"\n") and len(read) < LONGEST_COMMAND and (byte := os.read(0, 1)):
        read += byte
    return read.decode(errors="replace").rstrip("\n")


def _give_up(message: str) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"dynod: {line}\n")
    sys.exit(1)
