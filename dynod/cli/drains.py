"""`dynod drains` and its family: where an app's log is sent, and how that goes. No URL is shown with its secrets."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import header, show, tell
from dynod.errors import DynodError
from dynod.platform_api.schema import LogDrain


class NotDeliveredError(DynodError):
    """A test message did not arrive."""

    code = "not_delivered"


@click.command("drains")
@with_session
def drains(session: Session) -> None:
    """List the log drains of an app; of those in trouble, say what it is."""
    found = session.client.log_drains(session.app)
    if session.as_json:
        session.show_json(found)
    elif found:
        lines = [header("Drains"), ""]
        for drain in found:
            lines.append(f"{drain['url']} ({drain['token']})")
            lines += [f"  {trouble}" for trouble in troubles(drain)]
        show("\n".join(lines))


@click.command("drains:add")
@click.argument("url")
@with_session
def add(session: Session, url: str) -> None:
    """Send the log to URL from now on: syslog://, syslog+tls://, http://, https://, file:///PATH or stdout:."""
    drain = session.client.add_log_drain(session.app, url)
    if session.as_json:
        session.show_json(drain)
    else:
        show(f"Successfully added drain {drain['url']}")


@click.command("drains:remove")
@click.argument("drain", metavar="URL_OR_TOKEN")
@with_session
def remove(session: Session, drain: str) -> None:
    """Send the log there no more."""
    removed = session.client.remove_log_drain(session.app, drain)
    if session.as_json:
        session.show_json(removed)
    else:
        show(f"Successfully removed drain {removed['url']}")


@click.command("drains:test")
@click.argument("drain", required=False, metavar="[URL_OR_TOKEN]")
@with_session
def test(session: Session, drain: str | None) -> None:
    """Send one message to a drain, or to each of them, now, and say whether it arrived."""
    meant = [
        each
        for each in session.client.log_drains(session.app)
        if drain is None or drain in {each["id"], each["token"], each["url"]}
    ]
    if drain is not None and not meant:
        meant = [session.client.log_drain(session.app, drain)]
    results = {each["url"]: session.client.test_log_drain(session.app, each["id"]) for each in meant}
    if session.as_json:
        session.show_json([{"url": url, **result} for url, result in results.items()])
    for url, result in results.items():
        outcome = f"delivered in {result['took_ms']} ms" if result["delivered"] else f"not delivered: {result['error']}"
        tell(f"{url}: {outcome}")
    failed = [url for url, result in results.items() if not result["delivered"]]
    if failed:
        raise NotDeliveredError(f"{len(failed)} of {len(results)} test messages did not arrive")


def troubles(drain: LogDrain) -> list[str]:
    """What a person should know about a drain; nothing where all is well."""
    health = drain["dynod"]
    if health is None:
        return ["does not run"]
    found = []
    if health["failures"] and health["last_error"]:
        again = f", tries again at {health['tries_again_at']}" if health["tries_again_at"] else ""
        found.append(f"failing: {health['last_error']} ({health['failures']} in a row{again})")
    if health["dropped"]:
        found.append(f"{health['dropped']:,} lines dropped, {health['sent']:,} sent")
    if health["failures"] and health["lag_lines"]:
        found.append(f"{health['lag_lines']:,} lines wait")
    return found
