"""Whatever is done in whatever order, the store says what a plain model says, also after a restart and after a kill."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from dynod.store.audit import Actor
from dynod.store.errors import NameTakenError, UnknownAppError
from dynod.store.store import Store

Result = TypeVar("Result")

NAMES = st.sampled_from(["demo", "shop", "api-1", "a" * 30])
TYPES = st.sampled_from(["web", "worker", "clock"])
WANTED = st.dictionaries(TYPES, st.tuples(st.integers(0, 500), st.sampled_from(["Unsized", "Basic"])), max_size=3)
CHANGES = st.dictionaries(st.sampled_from(["grace_s", "web.grace_s", "balance"]), st.none() | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), max_size=3)  # fmt: skip
ME = Actor(name="me", origin="test")


class Model:
    """One app, as plain values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.maintenance = False
        self.formation: dict[str, tuple[int, str]] = {}
        self.settings: dict[str, str] = {}


class StoreMachine(RuleBasedStateMachine):
    """The model's side of a change is made where the store acknowledged it, and nowhere else."""

    app_ids = Bundle("app_ids")

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.folder = self.top / "0"
        self.kills = 0
        self.store = Store.open(self.folder)
        self.model: dict[str, Model] = {}
        self.changes = 0  # that left an audit entry

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.top)

    def call(self, work: Coroutine[None, None, Result]) -> Result:
        async def main() -> Result:
            return await work

        return asyncio.run(main())

    def has(self, app_id: str, work: Coroutine[None, None, object]) -> bool:
        """Do it; an app that is gone must refuse it."""
        try:
            self.call(work)
        except UnknownAppError:
            assert app_id not in self.model
            return False
        assert app_id in self.model
        return True

    @rule(target=app_ids, name=NAMES, wanted=WANTED)
    def create(self, name: str, wanted: dict[str, tuple[int, str]]) -> object:
        taken = any(app.name == name for app in self.model.values())
        try:
            app = self.call(self.store.apps.create(name, by=ME, formation=wanted))
        except NameTakenError:
            assert taken
            return multiple()
        assert not taken
        self.model[app.id] = Model(name)
        self.model[app.id].formation = dict(wanted)
        self.changes += 1
        return app.id

    @rule(app_id=app_ids, name=NAMES)
    def rename(self, app_id: str, name: str) -> None:
        taken = any(app.name == name for id_, app in self.model.items() if id_ != app_id)
        try:
            if self.has(app_id, self.store.apps.rename(app_id, name, by=ME)):
                assert not taken
                self.changes += self.model[app_id].name != name
                self.model[app_id].name = name
        except NameTakenError:
            assert taken

    @rule(app_id=app_ids, on=st.booleans())
    def maintain(self, app_id: str, on: bool) -> None:
        if self.has(app_id, self.store.apps.set_maintenance(app_id, on=on, by=ME)):
            self.changes += self.model[app_id].maintenance != on
            self.model[app_id].maintenance = on

    @rule(app_id=app_ids, wanted=WANTED)
    def scale(self, app_id: str, wanted: dict[str, tuple[int, str]]) -> None:
        if self.has(app_id, self.store.formation.set(app_id, wanted, by=ME)):
            after = {**self.model[app_id].formation, **wanted}
            self.changes += after != self.model[app_id].formation
            self.model[app_id].formation = after

    @rule(app_id=app_ids, types=st.sets(TYPES))
    def forget(self, app_id: str, types: set[str]) -> None:
        if self.has(app_id, self.store.formation.remove(app_id, types, by=ME)):
            after = {name: row for name, row in self.model[app_id].formation.items() if name not in types}
            self.changes += after != self.model[app_id].formation
            self.model[app_id].formation = after

    @rule(app_id=app_ids, changes=CHANGES)
    def change_settings(self, app_id: str, changes: dict[str, str | None]) -> None:
        if self.has(app_id, self.store.settings.change(app_id, changes, by=ME)):
            after = {**self.model[app_id].settings}
            for key, value in changes.items():
                after.pop(key, None)
                if value is not None:
                    after[key] = value
            self.changes += after != self.model[app_id].settings
            self.model[app_id].settings = after

    @rule(app_id=app_ids)
    def destroy(self, app_id: str) -> None:
        """Its id stays in the bundle, so that later rules meet apps that are gone."""
        if self.has(app_id, self.store.apps.destroy(app_id, by=ME)):
            self.changes += 1
            del self.model[app_id]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder)

    @rule()
    def kill(self) -> None:
        """The files as a killed dynod leaves them."""
        self.kills += 1
        killed = self.top / str(self.kills)
        killed.mkdir(mode=0o700)
        for name in ("state.db", "state.db-wal"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, killed / name)
        self.store.close()
        self.folder = killed
        self.store = Store.open(killed)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        async def look() -> None:
            apps = await self.store.apps.all()
            assert [(app.id, app.name, app.maintenance) for app in apps] == sorted(
                ((app_id, app.name, app.maintenance) for app_id, app in self.model.items()), key=lambda app: app[1]
            )
            formation, kept = await self.store.formation.all(), await self.store.settings.all()
            for app_id, app in self.model.items():
                rows = {name: (row.quantity, row.size) for name, row in formation.pop(app_id, {}).items()}
                assert rows == app.formation
                assert kept.pop(app_id, {}) == app.settings
            assert (formation, kept) == ({}, {})
            assert len(await self.store.audit.newest(limit=1000)) == self.changes

        self.call(look())


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
