"""`dynod webhooks` and its family: who is told, over HTTP, when something goes wrong with an app."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show, table, tell

ROW = ("Webhook ID", "URL", "Include", "Level")
DELIVERY_ROW = ("Delivery ID", "Created", "Status", "Include", "Attempts", "Last error")


@click.command("webhooks")
@with_session
def webhooks(session: Session) -> None:
    """List the webhooks of an app."""
    found = session.client.webhooks(session.app)
    if session.as_json:
        session.show_json(found)
        return
    if not found:
        show(f"{app_name(session.app)} has no webhooks. Use dynod webhooks:add to add one.")
        return
    rows = [(each["id"], each["url"], ",".join(each["include"]), each["level"]) for each in found]
    show("\n".join([header(f"{app_name(session.app)} Webhooks"), "", *table(ROW, rows)]))


@click.command("webhooks:add")
@click.option("-i", "--include", required=True, metavar="TYPES", help="api:dyno, api:release, dynod:drain, dynod:disk.")
@click.option("-l", "--level", type=click.Choice(["notify", "sync"]), required=True, help="sync is tried for hours.")
@click.option("-u", "--url", required=True, metavar="URL", help="Who is told.")
@click.option("-s", "--secret", metavar="TEXT", help="Signs each message (default: one is made).")
@click.option("-t", "--authorization", metavar="TEXT", help="The Authorization header to send.")
@with_session
def add(  # noqa: PLR0917 (click passes by name)
    session: Session, include: str, level: str, url: str, secret: str | None, authorization: str | None
) -> None:
    """Tell a URL when dynos crash, releases fail, memory, drains or the disk are in trouble; and when that is over."""
    app = session.app
    with action(f"Adding webhook to {app_name(app)}"):
        made, made_secret = session.client.add_webhook(
            app, url=url, include=include.split(","), level=level, secret=secret, authorization=authorization
        )
    if session.as_json:
        session.show_json(made)
    elif secret is None:
        tell("The secret that signs its messages, shown this once:")
        show(made_secret)


@click.command("webhooks:remove")
@click.argument("webhook")
@with_session
def remove(session: Session, webhook: str) -> None:
    """Tell it nothing more."""
    app = session.app
    with action(f"Removing webhook {webhook} from {app_name(app)}"):
        removed = session.client.remove_webhook(app, webhook)
    if session.as_json:
        session.show_json(removed)


@click.command("webhooks:deliveries")
@with_session
def deliveries(session: Session) -> None:
    """List the last messages, and what became of them."""
    found = session.client.webhook_deliveries(session.app)
    if session.as_json:
        session.show_json(found)
        return
    rows = []
    for each in sorted(found, key=lambda each: each["created_at"], reverse=True):
        last = each["last_attempt"]
        error = last["error_class"] if last is not None else None
        count = str(each["num_attempts"])
        rows.append((each["id"], each["created_at"], each["status"], each["event"]["include"], count, error or ""))
    show("\n".join(table(DELIVERY_ROW, rows)) if rows else "Nothing has been sent yet.")
