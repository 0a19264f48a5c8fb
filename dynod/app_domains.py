"""The domains of apps: what is added and removed, and that the router knows it before it is answered.

Flow: platform_api → **app domains** → store, then router. May import operations, store, core, errors and idna, which
turns names of other scripts into ASCII as browsers do (UTS 46).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import idna

from dynod.core.domain_name import WILDCARD, domain_fault
from dynod.core.fault import quoted
from dynod.core.suggest import not_found
from dynod.operations import AppView, InvalidError, NotFoundError, Operations, RunningApp
from dynod.store.audit import actor
from dynod.store.domains import Domain
from dynod.store.store import Store

LONGEST_WRITTEN = 1000  # characters of a name as somebody writes it


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainView:
    """A host name that leads to an app. `id` None: the name that the app has from dynod."""

    id: str | None
    app: AppView
    hostname: str
    target: str  # what DNS must point at, for a domain of somebody's own
    created_at: datetime
    updated_at: datetime


class AppDomains:
    """Every domain of every app of the daemon."""

    def __init__(
        self, operations: Operations, store: Store, *, apps_domain: str, reroute: Callable[[str], Awaitable[None]]
    ) -> None:
        """`reroute` tells the router what the store says of the app with that id."""
        self._operations = operations
        self._store = store
        self._apps_domain = apps_domain
        self._reroute = reroute

    async def of(self, ref: str) -> list[DomainView]:
        """The app's own name and its domains. Raises NotFoundError."""
        app = self._operations.find(ref)
        view = self._operations.app(app.id)
        own = DomainView(
            id=None,
            app=view,
            hostname=self._target(app),
            target=self._target(app),
            created_at=app.created_at,
            updated_at=app.created_at,
        )
        return [own, *(self._view(app, domain) for domain in await self._store.domains.of(app.id))]

    async def add(self, ref: str, hostname: str, *, by: str) -> DomainView:
        """The app is reached by this name too, from now on. Raises NotFoundError, InvalidError, DynodError."""
        app = self._operations.find(ref)
        async with self._operations.changing(app):
            name = ascii_name(hostname)
            fault = domain_fault(name, app=app.name, apps_domain=self._apps_domain)
            if fault is not None:
                raise InvalidError(fault)
            domain = await self._store.domains.add(app.id, name, by=actor(by))
            await self._reroute(app.id)
            app.journal.api(f"Add domain {name} by user {by}")
            return self._view(app, domain)

    async def remove(self, ref: str, domain: str, *, by: str) -> DomainView:
        """The app is not reached by this name, or id, any more; returns what it was. Raises NotFoundError."""
        app = self._operations.find(ref)
        async with self._operations.changing(app):
            names = {domain, _written(domain)}
            known = await self._store.domains.of(app.id)
            found = next((d for d in known if names & {d.id, d.hostname}), None)
            if found is None:
                raise NotFoundError(not_found("domain name", domain, [d.hostname for d in known]), "domain")
            await self._store.domains.remove(app.id, found, by=actor(by))
            await self._reroute(app.id)
            app.journal.api(f"Remove domain {found.hostname} by user {by}")
            return self._view(app, found)

    def _target(self, app: RunningApp) -> str:
        return f"{app.name}.{self._apps_domain}"

    def _view(self, app: RunningApp, domain: Domain) -> DomainView:
        return DomainView(
            id=domain.id,
            app=self._operations.app(app.id),
            hostname=domain.hostname,
            target=self._target(app),
            created_at=domain.created_at,
            updated_at=domain.updated_at,
        )


def ascii_name(hostname: str) -> str:
    """The name as a request's Host has it: ASCII, lower case, no trailing dot. Raises InvalidError."""
    name = hostname.strip().removesuffix(".")
    if len(name) > LONGEST_WRITTEN:
        raise InvalidError(f"{quoted(name)} is no host name: it is too long.")
    if name.isascii():
        return name.lower()
    wildcard = WILDCARD if name.startswith(WILDCARD) else ""
    try:
        return wildcard + idna.encode(name.removeprefix(WILDCARD), uts46=True, transitional=False).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidError(f"{quoted(hostname)} is no host name: {error}.") from error


def _written(hostname: str) -> str:
    """As `ascii_name`, for a name that may be anything."""
    try:
        return ascii_name(hostname)
    except InvalidError:
        return ""
