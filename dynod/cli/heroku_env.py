"""`dynod heroku:env`: the variables by which Heroku's own command line, unmodified, talks to this dynod.

eval "$(dynod heroku:env)"; heroku ps -a demo

Of a dynod on another machine the same is asked over ssh, and a forwarded port (`ssh_forward`) leads to its API.
"""

import getpass
import hashlib
import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show, tell
from dynod.errors import DynodError
from dynod.platform_api.schema import HerokuEnvironment

OURS = "heroku-ca-"  # how the files begin that this verb writes


class NoFolderError(DynodError):
    """There is no place for the certificate."""

    code = "no_folder"


@click.command("heroku:env")
@click.option("--host", metavar="ssh://USER@VM", help="The machine of the dynod meant (default: DYNOD_HOST).")
@with_session
def command(session: Session, host: str | None) -> None:
    """Print what a shell has to export so that `heroku` talks to this dynod: eval "$(dynod heroku:env)".

    Makes a token in the place of the one that it made for you on this machine before, so that other shells have to
    do the same again. With `-a APP` that app is the one meant where none is named. Of a dynod on another machine, a
    loopback port of this one is forwarded to its API by ssh, which goes on in the background.
    """
    if host is not None:
        session.go_to(host)
    daemon = session.client.daemon
    found = session.client.heroku_environment(f"{getpass.getuser()}@{socket.gethostname()}"[:100])
    if daemon.host is not None:
        from dynod.cli.ssh_forward import forward  # noqa: PLC0415 (who stays here does not pay)

        found = {**found, "url": forward(daemon.host, daemon.ssh, found["url"])}
    variables = environment(found, _keep(_trusted(found["certificate"])), app=session.named_app)
    if session.as_json:
        session.show_json(variables)
        return
    show("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    if sys.stdout.isatty():
        tell('# These are for a shell to read: eval "$(dynod heroku:env)"')


def environment(found: HerokuEnvironment, certificates: Path, *, app: str | None) -> dict[str, str]:
    """The variables. Names: heroku/cli `vars.ts`; NODE_EXTRA_CA_CERTS is Node's."""
    variables = {
        "HEROKU_HOST": found["url"],
        "HEROKU_API_KEY": found["api_key"],
        "HEROKU_GIT_HOST": urlsplit(found["url"]).netloc,
        # Else it asks Heroku's own host whether the account is in arrears, and shows it this token.
        "HEROKU_PARTICLEBOARD_URL": found["url"],
        "NODE_EXTRA_CA_CERTS": str(certificates),
    }
    return {**variables, "HEROKU_APP": app} if app is not None else variables


def _trusted(certificate: str) -> str:
    """Dynod's authority beside those that the user has Node trust already."""
    path = os.environ.get("NODE_EXTRA_CA_CERTS")
    if not path or Path(path).name.startswith(OURS):
        return certificate
    try:
        others = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return certificate  # Node only warns of such a file
    return f"{others.rstrip()}\n{certificate}"


def _keep(certificates: str) -> Path:
    """In a file of the user's, named by what it holds, so that it never changes. Raises NoFolderError."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynod"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{OURS}{hashlib.sha256(certificates.encode()).hexdigest()[:16]}.pem"
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
            file.write(certificates)
        Path(file.name).replace(path)
    except (OSError, RuntimeError) as error:
        raise NoFolderError(
            f"no place for the certificate: {error}; set XDG_CACHE_HOME to a folder of yours"
        ) from error
    return path
