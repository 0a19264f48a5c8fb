"""An app in figures, as of one moment: what metrics, `dynod top` and the page show, read from what runs.

Flow: supervisor, sampler, log stream, drains → **figures** → metrics, stats. Read only, and cheap: nothing is measured
for whoever looks. One-off dynos are only counted, because their names are random and would never end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynod.app_logs import DrainState, LogVolume
from dynod.core.boot import Address
from dynod.core.dyno import InstanceState, RestartCause, SlotState
from dynod.core.dyno_sizes import UNSIZED
from dynod.core.histogram import Histogram
from dynod.operations import RunningApp
from dynod.process.slot import Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoFigures:
    """A dyno of the formation. Memory and CPU are those of its last reading, None before the first."""

    name: str
    process_type: str
    state: SlotState
    restarts: Mapping[RestartCause, int]
    up_s: float | None  # for how long it has been up; None: it is not
    address: Address | None  # where it is reached; None: nowhere
    memory: int | None  # bytes
    quota: int | None  # bytes; None: it has none
    cpu_s: float | None  # since its start
    cpu_share: float | None  # of one core, between its last two readings
    processes: int | None
    release: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFigures:
    """`boots`: by process type, from launch until up."""

    id: str
    name: str
    maintenance: bool
    wanted: Mapping[str, int]  # dynos by process type
    dynos: Sequence[DynoFigures]
    one_offs: int
    boots: Mapping[str, Histogram]
    log: LogVolume
    drains: Sequence[DrainState]
    release: int | None  # the version that is live; None: there are no releases


def figures_of(app: RunningApp, *, now: float) -> AppFigures:
    """`now` is the loop's clock."""
    supervisor, releases = app.supervisor, app.releases
    return AppFigures(
        id=app.id,
        name=app.name,
        maintenance=app.maintenance,
        wanted={name: supervisor.quantities.get(name, 0) for name in supervisor.types},
        dynos=[_dyno(app, slot, now) for slot in supervisor.slots if not slot.is_one_off],
        one_offs=sum(slot.is_one_off for slot in supervisor.slots),
        boots=supervisor.boots,
        log=app.logs.volume,
        drains=app.logs.drains(),
        release=None if releases is None else releases.current.version if releases.current is not None else 0,
    )


def _dyno(app: RunningApp, slot: Slot, now: float) -> DynoFigures:
    instance = slot.instance
    process_type = slot.name.rpartition(".")[0]
    sample = app.usage(instance.id) if instance is not None else None
    is_up = instance is not None and instance.state is InstanceState.UP
    address = None
    if instance is not None and instance.port is not None and is_up:
        address = instance.address or Address("127.0.0.1", instance.port)
    return DynoFigures(
        name=slot.name,
        process_type=process_type,
        state=slot.state,
        restarts=dict(slot.restarts),
        up_s=now - instance.up_since if instance is not None and is_up and instance.up_since is not None else None,
        address=address,
        memory=sample.usage.memory.total if sample is not None else None,
        quota=(app.sizes.get(slot.name) or app.sizes.get(process_type, UNSIZED)).memory,
        cpu_s=sample.usage.cpu_s if sample is not None else None,
        cpu_share=sample.cpu_share if sample is not None else None,
        processes=sample.usage.processes if sample is not None else None,
        release=instance.release if instance is not None else slot.command.release,
    )
