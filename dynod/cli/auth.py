"""`dynod auth:create` and its family: tokens by which the API is used over TCP. A token is shown once, on stdout."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, show, tell
from dynod.errors import UsageError
from dynod.platform_api.schema import Authorization

SCOPES = ("read", "deploy", "admin")


@click.command("auth:create")
@click.option("--scope", type=click.Choice(SCOPES), help="What it may do (default: admin; deploy for one app).")
@click.option("-d", "--description", default="", metavar="TEXT", help="What it is for.")
@with_session
def create(session: Session, scope: str | None, description: str) -> None:
    """Make a token for the API over TCP; with `-a APP` for that app alone.

    read: look, but at no config var's value. deploy: change apps, run commands in them. admin: everything.
    """
    made = session.client.create_authorization(scope=scope, app=session.named_app, description=description)
    token = made["access_token"]
    if session.as_json:
        session.show_json(made)
    elif token is not None:
        tell(f"{_shown(made)}; this is shown only once:")
        show(token["token"])


@click.command("auth:list")
@with_session
def list_tokens(session: Session) -> None:
    """List the tokens, and when each was last used."""
    found = session.client.authorizations()
    if session.as_json:
        session.show_json(found)
    elif found:
        show("\n".join(_shown(each) for each in found))
    else:
        show("No tokens.")


@click.command("auth:revoke")
@click.argument("token", metavar="ID")
@with_session
def revoke(session: Session, token: str) -> None:
    """Take a token back: nobody gets in with it any more."""
    matching = [each for each in session.client.authorizations() if each["id"].startswith(token)]
    if len(matching) > 1:
        raise UsageError(f"{len(matching)} tokens have an id that begins with {token}: name one of them whole")
    with action(f"Revoking {matching[0]['id'] if matching else token}"):
        gone = session.client.revoke_authorization(matching[0]["id"] if matching else token)
    if session.as_json:
        session.show_json(gone)


@click.command("auth:whoami")
@with_session
def whoami(session: Session) -> None:
    """Say as whom dynod knows you."""
    account = session.client.account()
    if session.as_json:
        session.show_json(account)
    else:
        show(account["email"])


def _shown(token: Authorization) -> str:
    extras = token["dynod"]
    reach = f"{extras['scope']} of {extras['app']['name']}" if extras["app"] is not None else extras["scope"]
    return f"{token['id']}  {reach}  {token['description']}  (used {extras['used_at'] or 'never'})"
