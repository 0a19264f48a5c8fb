"""Every setting that config/dynod.toml names is read by something: one that does nothing is a promise broken."""

import ast
from functools import cache

import pytest

from dynod.core.settings_table import DYNO_KNOBS, LOG_KNOBS, ROUTER_KNOBS, DynoRules
from dynod.settings import Builds, Container, Dynos, Logs, Serve
from router.settings import RouterSettings
from support.source_tree import Module, modules

TABLES = {"serve": Serve, "dynos": Dynos, "container": Container, "logs": Logs, "builds": Builds}
PLAIN = [(section, name) for section, table in TABLES.items() for name in table.__struct_fields__ if name != "rules"]


@cache
def read_from(owner: str, sources: tuple[Module, ...]) -> set[str]:
    """What is read as `owner.NAME` or `x.owner.NAME`; "" stands for any owner."""
    found = set()
    for module in sources:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                value = node.value
                name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
                if owner in {"", name}:
                    found.add(node.attr)
    return found


def of(package: str) -> tuple[Module, ...]:
    return tuple(module for module in modules() if module.name.partition(".")[0] == package)


@pytest.mark.parametrize(("section", "name"), PLAIN)
def test_a_setting_of_the_daemon_is_read(section: str, name: str) -> None:
    assert name in read_from(section, of("dynod"))


@pytest.mark.parametrize("knob", DYNO_KNOBS, ids=lambda knob: knob.name)
def test_a_setting_of_dynos_is_read(knob: object) -> None:
    name = getattr(knob, "name", "")
    used = read_from("rules", of("dynod"))
    if name.startswith("restart"):  # three knobs, one policy
        assert "restart" in DynoRules.__dataclass_fields__
        assert "restart" in used
    else:
        assert name in used


def test_a_setting_of_the_log_is_read() -> None:
    assert [knob.name for knob in LOG_KNOBS] == ["mask_config_vars", "log_runtime_metrics"]
    for daemon in ("dynod.up", "dynod.served_app"):
        read = read_from("", tuple(module for module in modules() if module.name == daemon))
        assert {"masks_config_vars", "logs_runtime_metrics"} <= set(read)


@pytest.mark.parametrize("name", RouterSettings.__dataclass_fields__)
def test_a_setting_of_the_router_is_read(name: str) -> None:
    sources = tuple(module for module in of("router") if module.name != "router.settings")
    assert name in read_from("", sources)


def test_an_apps_settings_are_those_of_dynos_of_the_router_and_of_the_log() -> None:
    assert {knob.name for knob in ROUTER_KNOBS} <= set(RouterSettings.__dataclass_fields__)
