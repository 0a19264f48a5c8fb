"""`dynod keys` and its family: who may push, and use the API, over ssh. Form: Heroku's `keys`."""

import sys
from pathlib import Path
from typing import Final

import click

from dynod.cli.auth import SCOPES
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, header, show
from dynod.errors import UsageError
from dynod.platform_api.schema import Key

FILES: Final = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")  # in ~/.ssh, the better ones first
ENDS: Final = 10  # characters of a key that are shown, at either end


@click.command("keys")
@click.option("-l", "--long", "whole", is_flag=True, help="Print the keys whole.")
@click.option("--all", "everybodys", is_flag=True, help="Those of all users.")
@with_session
def keys(session: Session, whole: bool, everybodys: bool) -> None:
    """List your keys of ssh."""
    found = session.client.keys(everybodys=everybodys)
    if session.as_json:
        session.show_json(found)
    elif not found:
        show("No keys." if everybodys else "You have no SSH keys.")
    elif whole:
        show("\n".join(key["public_key"] for key in found))
    else:
        users = sorted({key["email"] for key in found})
        lines = []
        for user in users:
            lines += [header(f"{user} keys"), "", *(_shown(key) for key in found if key["email"] == user), ""]
        show("\n".join(lines[:-1]))


@click.command("keys:add")
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option("--user", metavar="NAME", help="Whose key it is (default: yours).")
@click.option("--scope", type=click.Choice(SCOPES), default="deploy", help="What it may do (default: deploy).")
@with_session
def add(session: Session, file: str | None, user: str | None, scope: str) -> None:
    """Let in whoever has a key: to push, and to use the API over ssh. With `-a APP` for that app alone.

    FILE is a public key (default: the one in ~/.ssh). What they do is done in the user's name.
    """
    path = file or str(_default())
    text = sys.stdin.read() if path == "-" else _read(Path(path))
    with action(f"Uploading {path} SSH key"):
        added = session.client.add_key(text, user=user, scope=scope, app=session.named_app)
    if session.as_json:
        session.show_json(added)


@click.command("keys:remove")
@click.argument("key", metavar="KEY")
@with_session
def remove(session: Session, key: str) -> None:
    """Let a key in no more: by its comment, its fingerprint or its id."""
    found = session.client.keys(everybodys=True)
    matching = [each for each in found if key in {each["comment"], each["fingerprint"], each["id"]}]
    if not matching:
        raise UsageError(f"there is no key {key}; there are {', '.join(_named(each) for each in found) or 'none'}")
    if len(matching) > 1:
        named = ", ".join(f"{each['fingerprint']} of {each['dynod']['user']}" for each in matching)
        raise UsageError(f"{len(matching)} keys are called {key}: name one by its fingerprint: {named}")
    with action(f"Removing {key} SSH key"):
        gone = session.client.remove_key(matching[0]["id"])
    if session.as_json:
        session.show_json(gone)


def _shown(key: Key) -> str:
    kind, blob, *_comment = key["public_key"].split(" ", 2)
    held = key["dynod"]
    reach = f"{held['scope']} of {held['app']['name']}" if held["app"] is not None else held["scope"]
    return f"{kind} {blob[:ENDS]}...{blob[-ENDS:]} {key['comment']} ({reach})"


def _named(key: Key) -> str:
    return key["comment"] or key["fingerprint"]


def _default() -> Path:
    folder = Path.home() / ".ssh"
    for name in FILES:
        if (folder / name).exists():
            return folder / name
    raise UsageError(f"there is none of {', '.join(FILES)} in {folder}: name a file, or make one with ssh-keygen")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} is no public key of ssh: it is no text") from error
