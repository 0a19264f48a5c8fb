"""Releases: versions are never used again, one change builds on the other, and what was purged is gone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from dynod.core.release import Draft, Phase, Release, ReleaseStatus, draft_config
from dynod.store.apps import App
from dynod.store.audit import Actor
from dynod.store.releases import Decide
from dynod.store.store import Store

ME = Actor(name="me", origin="test")


def sets(**values: str | None) -> Decide:
    def decide(base: Release | None, _all: Sequence[Release]) -> Draft | None:
        return draft_config(base, values, runs_command=False)

    return decide


def play(folder: Path, work: Callable[[Store, App], Awaitable[None]]) -> None:
    async def run() -> None:
        store = Store.open(folder)
        try:
            app = await store.apps.find("shop") or await store.apps.create("shop", by=ME)
            await work(store, app)
        finally:
            store.close()

    asyncio.run(run())


def test_changes_at_once_build_on_each_other_and_a_failed_ones_values_go(tmp_path: Path) -> None:
    async def work(store: Store, app: App) -> None:
        made = await asyncio.gather(*(store.releases.add(app.id, sets(**{f"V{n}": "x"}), by=ME) for n in range(10)))
        assert sorted(each.version for each in made if each is not None) == list(range(1, 11))
        newest = (await store.releases.of(app.id))[0]
        assert set(newest.config) == {f"V{n}" for n in range(10)}
        bad = await store.releases.add(app.id, sets(BAD="1"), by=ME)
        assert bad is not None
        await store.releases.settle(app.id, bad.version, failure="it exited with 1")
        good = await store.releases.add(app.id, sets(GOOD="1"), by=ME)
        assert good is not None
        assert (good.version, "BAD" in good.config, "V0" in good.config) == (12, False, True)
        assert await store.releases.add(app.id, sets(GOOD="1"), by=ME) is None

    play(tmp_path, work)


def test_a_release_comes_back_as_it_was_and_settles_once(tmp_path: Path) -> None:
    def decide(_base: Release | None, _all: Sequence[Release]) -> Draft:
        return Draft(description="Deploy abc", plan='{"web": 1}', config={"Ä".encode().hex(): "ü"}, runs_command=True)

    async def make(store: Store, app: App) -> None:
        made = await store.releases.add(app.id, decide, by=ME)
        assert made is not None
        assert (made.status, made.phase, made.user) == (ReleaseStatus.PENDING, Phase.WANTED, "me")
        await store.releases.command_done(app.id, 1)
        await store.releases.settle(app.id, 1)
        await store.releases.settle(app.id, 1, failure="too late")

    async def look(store: Store, app: App) -> None:
        (found,) = await store.releases.of(app.id)
        assert (found.status, found.phase, found.failure) == (ReleaseStatus.SUCCEEDED, Phase.DONE, None)
        assert (found.plan, dict(found.config)) == ('{"web": 1}', {"c384": "ü"})
        assert [entry.detail for entry in await store.audit.newest(limit=1)] == ["v1 Deploy abc"]

    play(tmp_path, make)
    play(tmp_path, look)


def test_a_purged_value_is_in_no_release_and_not_in_the_file(tmp_path: Path) -> None:
    canary = "canary-5f2d9c"

    async def work(store: Store, app: App) -> None:
        await store.releases.add(app.id, sets(SECRET=canary, KEPT="1"), by=ME)
        await store.releases.add(app.id, sets(OTHER="1"), by=ME)
        await store.releases.add(app.id, sets(SECRET=None), by=ME)
        assert await store.releases.purge(app.id, "SECRET", by=ME) == 2
        assert [dict(each.config).get("SECRET") for each in await store.releases.of(app.id)] == [None, "", ""]
        assert (await store.releases.of(app.id))[2].config["KEPT"] == "1"

    play(tmp_path, work)
    assert all(canary.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_releases_go_with_their_app_and_the_trail_has_no_values(tmp_path: Path) -> None:
    async def work(store: Store, app: App) -> None:
        await store.releases.add(app.id, sets(TOKEN="very-secret"), by=ME)
        await store.apps.destroy(app.id, by=ME)
        assert await store.releases.of(app.id) == ()
        assert all("very-secret" not in entry.detail for entry in await store.audit.newest())

    play(tmp_path, work)
