"""`dynod open`: an app in the browser, as Heroku has it, or with `--dashboard` the page that shows how all of them do.

The dashboard's address holds a code that opens it once, within a minute, behind a `#`: browsers send that to nobody,
and what is left of it in a history opens nothing any more. Nor does it for other users of the machine, who can read it
in the list of processes; behind `sudo` it is for the browser of whoever called that.
"""

import os
import sys
import webbrowser
from urllib.parse import quote, urljoin

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show, tell
from dynod.errors import UsageError


@click.command("open")
@click.argument("path", required=False, metavar="[PATH]")
@click.option("--dashboard", is_flag=True, help="Open dynod's own page instead: every app, live.")
@with_session
def command(session: Session, path: str | None, dashboard: bool) -> None:
    """Open an app in the browser; with --dashboard, how it does.

    Where no browser can be started, the address is printed.
    """
    if dashboard and path is not None:
        raise UsageError("the dashboard has no PATH: leave it out, and name an app with -a")
    if dashboard:
        url, shown = _dashboard(session)
    else:
        url = shown = urljoin(_web_url(session), path or "")
    if session.as_json:
        session.show_json({"url": url})
    elif _can_show() and webbrowser.open(url):
        tell(f"Opening {shown}")
    else:
        tell("Open this in a browser, within a minute:" if dashboard else "Open this in a browser:")
        show(url)


def _web_url(session: Session) -> str:
    found = session.client.app(session.app)["web_url"]
    if not found:
        raise UsageError("this app is reached nowhere: dynod listens on no port for it")
    return found


def _dashboard(session: Session) -> tuple[str, str]:
    """The address that opens it, and the same without what does."""
    daemon = session.client.daemon
    behind = os.environ.get("SUDO_UID", "") if os.geteuid() == 0 and daemon.host is None else ""
    opened = session.client.open_dashboard(uid=int(behind) if behind.isdecimal() else None)
    url = opened["url"]
    if daemon.host is not None:
        from dynod.cli.ssh_forward import forward  # noqa: PLC0415 (who stays here does not pay)

        url = forward(daemon.host, daemon.ssh, url)
    app = session.named_app or daemon.app
    return f"{url}/#code={opened['code']}{f'&app={quote(app)}' if app else ''}", f"{url}/"


def _can_show() -> bool:
    """Whether a browser could be seen: on a screen, or because somebody has named one."""
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen or os.environ.get("BROWSER"))
