"""What sshd runs for whoever comes with a key of `keys:add`, and the lines by which it knows them.

    Match User dynod
        AuthorizedKeysCommand /opt/dynod/bin/dynod ssh-authorized-keys %f
        AuthorizedKeysCommandUser dynod
        AuthorizedKeysFile none

Each line forces `dynod ssh-serve KEY`: what was asked for is read by `core/ssh_command`, and nothing but git on an app
or the API comes of it, on behalf of the key's owner and within its scope, which is the daemon's to see to.
"""

import os
import sys
from pathlib import Path

import click

from dynod.cli.joined_stdio import join
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show
from dynod.core.ssh_command import GitService, parse_ssh_command
from dynod.core.ssh_key import authorized_line, parse_public_key
from dynod.errors import UsageError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import find_daemon


@click.command("ssh-serve")
@click.option("--socket", metavar="PATH", help="Control socket of the dynod to talk to.")
@click.argument("key")
def serve(socket: str | None, key: str) -> None:
    """Do what somebody with a key asks for over ssh; for sshd to start."""
    wanted = parse_ssh_command(os.environ.get("SSH_ORIGINAL_COMMAND"))
    here = find_daemon(socket, os.environ, Path("/"), here=True)
    client = ApiClient(here, on_behalf={"key": key, "origin": f"ssh {_from_where()}"})
    if isinstance(wanted, GitService):
        join(*client.git(wanted.app, wanted.service))
    join(client.open_socket())


@click.command("ssh-authorized-keys")
@click.argument("fingerprint", required=False)
@with_session
def authorized_keys(session: Session, fingerprint: str | None) -> None:
    """Print the lines of authorized_keys for the keys of this dynod, or for one; for sshd to ask for."""
    daemon = session.client.daemon
    if daemon.host is not None:
        raise UsageError(f"this is for the sshd of {daemon.host} to run, there")
    program = [sys.executable, "-P", "-m", "dynod", "ssh-serve", "--socket", os.path.abspath(daemon.socket)]  # noqa: PTH100 (a str)
    for key in session.client.keys(everybodys=True):
        if fingerprint in {None, key["fingerprint"]}:
            show(authorized_line(parse_public_key(key["public_key"]), key["id"], program))


def _from_where() -> str:
    """The address that sshd has seen."""
    return os.environ.get("SSH_CONNECTION", "").partition(" ")[0] or "from nowhere"
