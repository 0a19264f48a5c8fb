"""The settings of apps: which are set, and that a change has its effect before it is answered.

Flow: `settings:set` → platform_api → **app settings** → store, then router and supervisor. Which settings there are is
`core/settings_table`'s to say. May import operations, store, core, errors.
"""

from collections.abc import Awaitable, Callable, Mapping

from dynod.core.settings_table import check_key, parse_assignment
from dynod.errors import SettingsError, UsageError
from dynod.operations import InvalidError, Operations
from dynod.store.audit import actor
from dynod.store.store import Store

MOST_SETTINGS = 200  # of an app: every one there is, and those of process types


class AppSettings:
    """Every setting of every app of the daemon."""

    def __init__(
        self,
        operations: Operations,
        store: Store,
        *,
        check: Callable[[Mapping[str, str]], None],
        refit: Callable[[str], Awaitable[None]],
    ) -> None:
        """`check` raises SettingsError for settings that do not go together; `refit` as in `AppFeatures`."""
        self._operations = operations
        self._store = store
        self._check = check
        self._refit = refit

    async def of(self, ref: str) -> dict[str, str]:
        """What is set, `[TYPE.]KEY` → value. Raises NotFoundError."""
        return await self._store.settings.of(self._operations.find(ref).id)

    async def change(self, ref: str, changes: Mapping[str, str | None], *, by: str) -> dict[str, str]:
        """Set these, and unset those that are None, all or none; returns what is set then.

        Raises NotFoundError, InvalidError, StoreError.
        """
        app = self._operations.find(ref)
        wanted = _read(changes)
        async with self._operations.changing(app):
            rows = await self._store.settings.of(app.id)
            after = {key: value for key, value in {**rows, **wanted}.items() if value is not None}
            if len(after) > MOST_SETTINGS:
                raise InvalidError(f"An app can have {MOST_SETTINGS} settings.")
            try:
                self._check(after)
            except SettingsError as error:
                raise InvalidError(str(error)) from error
            if after == rows:
                return rows
            rows = await self._store.settings.change(app.id, wanted, by=actor(by))
            await self._refit(app.id)
            set_keys = sorted(key for key, value in wanted.items() if value is not None)
            unset_keys = sorted(key for key, value in wanted.items() if value is None)
            said = [f"{word} {', '.join(keys)}" for word, keys in (("Set", set_keys), ("Unset", unset_keys)) if keys]
            app.journal.api(f"{' and '.join(said)} setting{'s' * (len(wanted) > 1)} by user {by}")
            return rows


def _read(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """The changes as the store has them; every fault is said. Raises InvalidError."""
    wanted: dict[str, str | None] = {}
    faults = []
    for key, value in changes.items():
        try:
            if value is None:
                check_key(key)
                wanted[key] = None
            else:
                assignment = parse_assignment(f"{key}={value}")
                wanted[assignment.key] = assignment.text
        except (SettingsError, UsageError) as error:
            faults.append(str(error))
    if faults:
        raise InvalidError("\n".join(faults))
    return wanted
