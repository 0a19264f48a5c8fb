"""The features of apps: what is switched, and that it has its effect before it is answered.

Flow: platform_api → **app features** → store, then whatever the feature is about. May import operations, store, core.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from dynod.core.app_features import FEATURES, Feature
from dynod.core.suggest import not_found
from dynod.operations import NotFoundError, Operations, RunningApp
from dynod.store.audit import actor
from dynod.store.features import FeatureRow
from dynod.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """A feature of an app."""

    app_id: str
    feature: Feature
    enabled: bool
    created_at: datetime
    updated_at: datetime


class AppFeatures:
    """Every feature of every app of the daemon."""

    def __init__(self, operations: Operations, store: Store, *, refit: Callable[[str], Awaitable[None]]) -> None:
        """`refit` brings what the store now says of the app with that id to whatever it is about."""
        self._operations = operations
        self._store = store
        self._refit = refit

    async def of(self, ref: str) -> list[FeatureView]:
        """All that there are. Raises NotFoundError."""
        app = self._operations.find(ref)
        rows = await self._store.features.of(app.id)
        return [_view(app, feature, rows.get(feature.name)) for feature in FEATURES.values()]

    async def switch(self, ref: str, name: str, *, on: bool, by: str) -> FeatureView:
        """Switch one on or off; no release is made of it. Raises NotFoundError, StoreError."""
        app = self._operations.find(ref)
        feature = known_feature(name)
        async with self._operations.changing(app):
            before = (await self._store.features.of(app.id)).get(feature.name)
            rows = await self._store.features.switch(app.id, feature.name, on=on, by=actor(by))
            await self._refit(app.id)
            if (before is not None and before.enabled) != on:
                app.journal.api(f"{'Enable' if on else 'Disable'} {feature.name} feature by user {by}")
            return _view(app, feature, rows.get(feature.name))


def known_feature(name: str) -> Feature:
    """The feature of that name. Raises NotFoundError."""
    feature = FEATURES.get(name)
    if feature is None:
        raise NotFoundError(not_found("feature", name, list(FEATURES)), "feature")
    return feature


def _view(app: RunningApp, feature: Feature, row: FeatureRow | None) -> FeatureView:
    return FeatureView(
        app_id=app.id,
        feature=feature,
        enabled=row is not None and row.enabled,
        created_at=row.created_at if row is not None else app.created_at,
        updated_at=row.updated_at if row is not None else app.created_at,
    )
