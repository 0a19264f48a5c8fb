"""An entry of the causal history: what was done to an app, and what happened to it. A value alone."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`action` is `formation.set`, `dyno.crashed` …; `actor` is `dynod` for what nobody asked for."""

    id: int  # grows
    at: datetime
    actor: str
    origin: str
    action: str
    app_id: str | None
    app_name: str | None  # as it was then
    detail: str
