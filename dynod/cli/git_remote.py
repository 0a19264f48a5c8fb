"""`dynod git:remote`, and the remote that `apps:create` sets: by it git and every verb find the app."""

import os
import subprocess
from pathlib import Path

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show
from dynod.core.git_remote import NAME, GitRemote
from dynod.errors import DynodError
from dynod.platform_api.finding import Daemon, names_app_of
from dynod.platform_api.git_folder import nearest_remote


class NoWorkTreeError(DynodError):
    """There is nothing to set a remote in, or git does not do it."""

    code = "git"


@click.command("git:remote")
@click.option("-r", "--remote", default=NAME, metavar="NAME", help=f"The remote (default: {NAME}).")
@with_session
def command(session: Session, remote: str) -> None:
    """Have a git remote lead to an app: `git push dynod main` deploys it, and verbs run here are about it."""
    app = session.client.app(session.app)["name"]
    url = url_of(app, session.client.daemon)
    if _git("remote", "get-url", remote).returncode == 0:
        done = _git("remote", "set-url", remote, url)
    else:
        done = _git("remote", "add", remote, url)
    if done.returncode:
        raise NoWorkTreeError(f"git: {done.stderr.strip() or 'no remote was set'}")
    if session.as_json:
        session.show_json({"remote": remote, "url": url})
    else:
        show(f"set git remote {remote} to {url}")


def add_remote(app: str, daemon: Daemon, remote: str = NAME) -> str | None:
    """Add it to the work tree that this is in; its URL, None where there is none or the remote is there already."""
    folder = Path.cwd()
    if not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return None
    url = url_of(app, daemon)
    return url if _git("remote", "add", remote, url).returncode == 0 else None


def rename_remote(app: str, new: str, daemon: Daemon, remote: str = NAME) -> str | None:
    """Have the work tree's remote follow an app to its new name; the URL then, None where it leads elsewhere."""
    found = nearest_remote(Path.cwd())
    if found is None or found[0].app != app or not names_app_of(found[0], daemon):
        return None
    url = url_of(new, daemon)
    return url if _git("remote", "set-url", remote, url).returncode == 0 else None


def url_of(app: str, daemon: Daemon) -> str:
    """What leads to this app of this daemon from here; its socket is in it where verbs would not look for it."""
    if daemon.host is not None:
        return str(GitRemote(app=app, host=daemon.host))
    named = daemon.source != daemon.socket
    return str(GitRemote(app=app, socket=os.path.abspath(daemon.socket) if named else None))  # noqa: PTH100 (a str)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 (the caller's own git)
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, "", "there is no git on the PATH")
