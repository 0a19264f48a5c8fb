"""`dynod features` and its family, and `labs`, as Heroku calls those of them that are not settled."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show
from dynod.errors import DynodError
from dynod.platform_api.schema import Feature

BETA = "beta"


class SwitchedAlreadyError(DynodError):
    """The feature is as it is asked to be."""

    code = "switched_already"


@click.command("features")
@with_session
def features(session: Session) -> None:
    """List the features of an app, and which are on."""
    _list(session, session.client.features(session.app))


@click.command("labs")
@with_session
def labs(session: Session) -> None:
    """List the features of an app that Heroku has under this name."""
    _list(session, [each for each in session.client.features(session.app) if each["state"] == BETA])


@click.command("features:info")
@click.argument("feature")
@with_session
def info(session: Session, feature: str) -> None:
    """Say what a feature is, and whether it is on."""
    found = session.client.feature(session.app, feature)
    if session.as_json:
        session.show_json(found)
        return
    rows = {
        "Description": found["description"],
        "Docs": found["doc_url"],
        "Enabled": "true" if found["enabled"] else "false",
    }
    show("\n".join([header(found["name"]), "", *(f"{key + ':':<12} {value}" for key, value in rows.items())]))


@click.command("features:enable")
@click.argument("feature")
@with_session
def enable(session: Session, feature: str) -> None:
    """Switch a feature on."""
    _switch(session, feature, on=True)


@click.command("features:disable")
@click.argument("feature")
@with_session
def disable(session: Session, feature: str) -> None:
    """Switch a feature off."""
    _switch(session, feature, on=False)


def _list(session: Session, found: list[Feature]) -> None:
    if session.as_json:
        session.show_json(found)
        return
    width = max(len(each["name"]) for each in found)
    lines = [f"[{'+' if each['enabled'] else ' '}] {each['name']:<{width}}  {each['description']}" for each in found]
    show("\n".join([header(f"App Features {app_name(session.app)}"), "", *lines]))


def _switch(session: Session, feature: str, *, on: bool) -> None:
    app = session.app
    with action(f"{'Enabling' if on else 'Disabling'} {feature} for {app_name(app)}"):
        if session.client.feature(app, feature)["enabled"] == on:
            raise SwitchedAlreadyError(f"{feature} is already {'enabled' if on else 'disabled'}.")
        switched = session.client.switch_feature(app, feature, on=on)
    if session.as_json:
        session.show_json(switched)
