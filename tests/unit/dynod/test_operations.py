"""Verbs over a real supervisor on virtual time: what they change, in which order, and what they refuse."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from dynod.core.dyno_sizes import SIZES, DynoSize
from dynod.core.scaling import FormationUpdate
from dynod.errors import DynodError
from dynod.operations import AppView, InvalidError, NotFoundError, Operations, RunningApp
from support.dyno_world import Behaviour, World

if TYPE_CHECKING:
    from dynod.app_logs import AppLogs
    from dynod.process.one_off import OneOffs

MADE = datetime(2020, 1, 1, tzinfo=UTC)
COMMANDS = {"web": "run web", "worker": "run worker", "release": "migrate"}
DISK_S = 5.0  # what writing down takes here
START: Mapping[str, int] = {"web": 1, "worker": 2}


@dataclass
class Shop:
    """An app `shop` whose dynos are a `World`'s."""

    world: World = field(default_factory=lambda: World({"web": [Behaviour()], "worker": [Behaviour()]}))
    sizes: dict[str, DynoSize] = field(default_factory=dict)
    kept: list[tuple[dict[str, int], dict[str, str], str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    disk_is_full: bool = False
    results: list[object] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)
    operations: Operations = field(init=False)
    app: RunningApp = field(init=False)

    def api(self, message: str) -> None:
        self.said.append(message)

    async def keep(self, quantities: Mapping[str, int], sizes: Mapping[str, DynoSize], by: str) -> None:
        await asyncio.sleep(DISK_S)
        if self.disk_is_full:
            raise DynodError("disk full")
        self.kept.append((dict(quantities), {name: size.name for name, size in sizes.items()}, by))

    async def create(self, name: str, folder: Path | None, by: str) -> RunningApp:
        raise NotImplementedError

    async def rename(self, app: RunningApp, name: str, by: str) -> None:
        await self.keep({}, {}, by)
        app.name = name

    async def set_maintenance(self, app: RunningApp, *, on: bool, by: str) -> None:
        await self.keep({}, {}, by)
        app.maintenance = on

    async def destroy(self, app: RunningApp, by: str) -> None:
        self.destroyed.append(by)
        await app.supervisor.stop_all(by)

    def play(
        self, *verbs: tuple[float, Callable[[Operations], Awaitable[object] | object]], until: float = 100.0
    ) -> "Shop":
        """Each verb in its time; `results` has what came of each, refusals included, in the order in which it came."""

        def begin(world: World) -> None:
            self.app = RunningApp(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, "shop")),
                name="shop",
                web_url="",
                created_at=MADE,
                supervisor=world.supervisor,
                journal=self,
                commands=COMMANDS,
                sizes=self.sizes,
                formation_updated_at=MADE,
                keep=self.keep,
                logs=cast("AppLogs", None),  # of no concern to these verbs
                one_offs=cast("OneOffs", None),
            )
            self.operations = Operations([self.app], host=self)

        def event(verb: Callable[[Operations], Awaitable[object] | object]) -> Callable[[World], object]:
            async def work() -> None:
                try:
                    made = verb(self.operations)
                    self.results.append(await made if isinstance(made, Awaitable) else made)
                except DynodError as error:
                    self.results.append(error)

            return lambda world: world.supervisor.in_background(work(), "verb")

        events = [(at, event(verb)) for at, verb in verbs]
        self.world.play(START, (1.0, begin), *events, until=until)
        return self

    def names(self) -> list[str]:
        return [slot.name for slot in self.world.supervisor.slots]


def change(name: str, quantity: int | str | None = None, size: str | None = None) -> FormationUpdate:
    return FormationUpdate(process_type=name, quantity=quantity, size=size)


def scale(*updates: FormationUpdate, by: str = "ann") -> Callable[[Operations], Awaitable[object]]:
    return lambda operations: operations.scale("shop", updates, by=by)


def test_what_is_scaled_is_written_down_first() -> None:
    shop = Shop().play((10.0, scale(change("web", "+2"), change("worker", 0))))
    assert shop.kept == [({"web": 3, "worker": 0}, {}, "ann")]
    assert shop.names() == ["web.1", "web.2", "web.3"]
    started = [time for time, line in shop.world.of("web.3") if line.startswith("Starting")]
    assert started == [10.0 + DISK_S]
    assert shop.said == ["Scaled to web@3:Unsized worker@0:Unsized by user ann"]


def test_what_cannot_be_written_down_is_not_done() -> None:
    shop = Shop(disk_is_full=True).play((10.0, scale(change("web", 5), change("worker", None, "basic"))))
    assert [str(result) for result in shop.results] == ["disk full"]
    assert shop.names() == ["web.1", "worker.1", "worker.2"]
    assert (shop.said, shop.sizes) == ([], {})
    assert len(shop.world.launches) == 2
    assert dict(shop.app.supervisor.quantities) == dict(START)


def test_relative_changes_queue_up_and_add_up() -> None:
    shop = Shop().play(*((10.0, scale(change("worker", "+1"), by=f"user-{n}")) for n in range(4)))
    assert [kept[0] for kept in shop.kept] == [{"worker": 3}, {"worker": 4}, {"worker": 5}, {"worker": 6}]
    assert len(shop.names()) == 7


def test_an_app_that_is_destroyed_in_the_middle_of_a_change_starts_nothing_after() -> None:
    shop = Shop().play(
        (10.0, scale(change("worker", 4))),
        (11.0, lambda operations: operations.destroy_app("shop", by="bob")),
        (12.0, scale(change("worker", 9))),
        (13.0, lambda operations: operations.destroy_app("shop", by="eve")),
    )
    assert [kept[0] for kept in shop.kept] == [{"worker": 4}]
    assert shop.destroyed == ["bob"]
    refused = [result for result in shop.results if isinstance(result, NotFoundError)]
    assert len(refused) == 2
    assert shop.names() == []
    assert shop.operations.apps() == []
    assert all(process.gone for process in shop.world.processes.values())


def test_a_new_size_restarts_the_dynos_of_its_type_alone() -> None:
    shop = Shop().play((10.0, scale(change("worker", None, "standard-2x"))))
    assert shop.sizes == {"worker": SIZES["Standard-2X"]}
    assert shop.world.launches == {"web": 1, "worker": 4}
    assert "Restarting" in shop.world.said("worker.1")
    # The same again changes nothing.
    again = Shop().play((10.0, scale(change("worker", None, "basic"))), (50.0, scale(change("worker", None, "Basic"))))
    assert again.world.launches == {"web": 1, "worker": 4}


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        (change("wroker", 1), NotFoundError),
        (change("release", 1), InvalidError),
        (change("web", "x"), InvalidError),
        (change("web", None, "huge"), InvalidError),
    ],
)
def test_one_wrong_update_and_none_is_carried_out(update: FormationUpdate, kind: type[DynodError]) -> None:
    shop = Shop().play((10.0, scale(change("worker", 7), update)))
    assert [type(result) for result in shop.results] == [kind]
    assert shop.kept == []
    assert len(shop.names()) == 3


@pytest.mark.parametrize(
    ("selector", "launches"),
    [
        (None, {"web": 2, "worker": 4}),
        ("worker", {"web": 1, "worker": 4}),
        ("worker.2", {"web": 1, "worker": 3}),
        ("web", {"web": 2, "worker": 2}),
    ],
)
def test_who_is_restarted(selector: str | None, launches: dict[str, int]) -> None:
    shop = Shop().play((10.0, lambda operations: operations.restart("shop", selector, by="ann")))
    assert shop.world.launches == launches
    assert all(slot.state == "up" and not slot.awaits_restart for slot in shop.world.supervisor.slots)
    restarted = [
        slot for slot in shop.world.supervisor.slots if "restarted by ann" in [each.what for each in slot.log.history]
    ]
    assert len(restarted) == sum(launches.values()) - 3


@pytest.mark.parametrize("selector", ["web.2", "nobody", "nobody.1", "", "."])
def test_who_is_not_there_cannot_be_restarted_or_stopped(selector: str) -> None:
    shop = Shop().play(
        (10.0, lambda operations: operations.restart("shop", selector, by="ann")),
        (11.0, lambda operations: operations.stop("shop", selector, by="ann")),
    )
    assert [type(result) for result in shop.results] == [NotFoundError, NotFoundError]
    assert shop.world.launches == {"web": 1, "worker": 2}


def test_a_dyno_of_the_formation_that_is_stopped_comes_back() -> None:
    shop = Shop().play((10.0, lambda operations: operations.stop("shop", "worker", by="ann")))
    assert shop.world.launches == {"web": 1, "worker": 4}
    assert "stopped by ann" in [each.what for each in list(shop.world.supervisor.slots)[1].log.history]


def test_an_app_is_found_by_name_and_id_and_a_dyno_by_name_and_id() -> None:
    seen: list[object] = []

    def look(operations: Operations) -> None:
        app = operations.app("shop")
        dyno = operations.dyno(app.id, "web.1")
        seen.extend(
            [operations.app(app.id) == app, operations.dyno("shop", dyno.id) == dyno, dyno.state, dyno.size.name]
        )
        for ref in ("nobody", "", "SHOP"):
            with pytest.raises(NotFoundError):
                operations.app(ref)

    shop = Shop().play((10.0, look))
    assert shop.results == [None]
    assert seen == [True, True, "up", "Unsized"]


def test_up_has_one_app_for_good() -> None:
    async def ask() -> None:
        operations = Operations([])
        with pytest.raises(InvalidError, match="dynod serve runs many"):
            await operations.create_app("shop", "/app", by="ann")

    asyncio.run(ask())


def test_an_app_is_renamed_and_found_by_its_new_name_alone() -> None:
    shop = Shop().play(
        (10.0, lambda operations: operations.change_app("shop", name="store", by="ann")),
        (11.0, lambda operations: operations.change_app("shop", maintenance=True, by="bob")),  # asked before it was so
        (30.0, lambda operations: operations.app("shop")),
        (31.0, lambda operations: operations.app("store")),
    )
    assert shop.said == ["Rename to store by user ann", "Enable maintenance mode by user bob"]
    *_, missing, view = shop.results
    assert isinstance(missing, NotFoundError)
    assert isinstance(view, AppView)
    assert (view.name, view.maintenance) == ("store", True)


def test_a_change_of_an_app_that_changes_nothing_is_not_said() -> None:
    shop = Shop().play(
        (10.0, lambda operations: operations.change_app("shop", name="shop", maintenance=False, by="ann")),
        (11.0, lambda operations: operations.change_app("shop", by="ann")),
    )
    assert (shop.said, shop.kept) == ([], [])


def test_what_cannot_be_written_down_renames_nothing() -> None:
    shop = Shop(disk_is_full=True).play(
        (10.0, lambda operations: operations.change_app("shop", name="store", maintenance=True, by="ann"))
    )
    assert [str(result) for result in shop.results] == ["disk full"]
    assert (shop.app.name, shop.app.maintenance, shop.said) == ("shop", False, [])
