"""`dynod status`: how the daemon does that this verb talks to."""

from datetime import UTC, datetime

import click

from dynod.cli import ps_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import HELD, header, show, state


@click.command("status")
@with_session
def command(session: Session) -> None:
    """Show a daemon: version, uptime, where it listens, what runs, what is in trouble."""
    found = session.client.status()
    if session.as_json:
        session.show_json(found)
        return
    since = ps_text.parse_time(found["since"])
    dynos = ", ".join(f"{count} {state(name)}" for name, count in found["dynos"].items())
    rows = {
        "Version": found["version"],
        "Pid": str(found["pid"]),
        "Up": f"{_duration((datetime.now(UTC) - since).total_seconds())}, since {since:%Y/%m/%d %H:%M:%S %z}",
        "Listens": " ".join(found["listeners"]) or "nowhere",
        "API": found["api"] or "off",
        "Control": found["control"],
        "State": found["state"] or "none",
        "Apps": str(found["apps"]),
        "Dynos": dynos or "none",
    }
    if found["held"]:
        rows["Held"] = HELD
    if found["store_refused"]:
        rows["Refused"] = f"{found['store_refused']} changes, for want of a disk that keeps up"
    lines = [header(f"dynod {found['verb']}"), "", *(f"{key + ':':<9} {value}" for key, value in rows.items())]
    for title, entries in (("Cannot be done here", found["lacks"]), ("In trouble", found["troubles"])):
        if entries:
            lines += ["", header(title), "", *entries]
    show("\n".join(lines))


def _duration(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m" if minutes else f"{int(seconds)}s"
