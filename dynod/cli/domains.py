"""`dynod domains` and its family: host names that lead to an app."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show, table, tell

ROW = ("Domain Name", "DNS Record Type", "DNS Target")
APEX_LABELS = 2  # example.com; DNS has no CNAME there


@click.command("domains")
@with_session
def domains(session: Session) -> None:
    """List the host names that lead to an app."""
    found = session.client.domains(session.app)
    if session.as_json:
        session.show_json(found)
        return
    app = session.app
    own = [domain["hostname"] for domain in found if domain["kind"] == "heroku"]
    show("\n".join([header(f"{app_name(app)} Heroku Domain"), "", *own]))
    custom = [domain for domain in found if domain["kind"] == "custom"]
    if custom:
        rows = [(domain["hostname"], _record_type(domain["hostname"]), domain["cname"] or "") for domain in custom]
        show("\n".join(["", header(f"{app_name(app)} Custom Domains"), "", *table(ROW, rows)]))


@click.command("domains:add")
@click.argument("hostname")
@with_session
def add(session: Session, hostname: str) -> None:
    """Lead requests for HOSTNAME, or for every name below *.HOSTNAME, to an app."""
    app = session.app
    with action(f"Adding {hostname} to {app_name(app)}"):
        domain = session.client.add_domain(app, hostname)
    if session.as_json:
        session.show_json(domain)
    else:
        tell(f"Configure your app's DNS provider to point {domain['hostname']} to this machine ({domain['cname']}).")


@click.command("domains:remove")
@click.argument("hostname")
@with_session
def remove(session: Session, hostname: str) -> None:
    """Lead requests for HOSTNAME to an app no more."""
    app = session.app
    with action(f"Removing {hostname} from {app_name(app)}"):
        domain = session.client.remove_domain(app, hostname)
    if session.as_json:
        session.show_json(domain)


@click.command("domains:clear")
@with_session
def clear(session: Session) -> None:
    """Remove every domain of an app; its own name stays."""
    app = session.app
    client = session.client
    with action(f"Removing all domains from {app_name(app)}"):
        custom = [domain["id"] for domain in client.domains(app) if domain["kind"] == "custom"]
        removed = [client.remove_domain(app, id_) for id_ in custom]
    if session.as_json:
        session.show_json(removed)


def _record_type(hostname: str) -> str:
    return "ALIAS or ANAME" if hostname.count(".") < APEX_LABELS else "CNAME"
