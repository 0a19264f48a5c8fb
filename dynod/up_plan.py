"""What `dynod up` runs: read once from the folder and the command line, then kept with the keeper.

The next core goes by the plan that was kept, not by the folder: a Procfile that was edited, or deleted, while the app
runs changes nothing until `dynod up` is started again.
"""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from dynod.app_folder import app_name, check_commands, folder_bins, inspect_app_folder
from dynod.cli.up import UpOptions
from dynod.core.app_manifest import Healthcheck
from dynod.core.command import analyse
from dynod.core.container import Container
from dynod.core.dotenv import Dotenv
from dynod.core.environment import contained_environment, manifest_values, missing_variables, up_environment
from dynod.core.fault import Fault, quoted
from dynod.core.formation import RELEASE, plan_formation
from dynod.errors import AppFolderError
from dynod.kept_notes import from_note
from dynod.listeners import DEFAULT_PORT
from dynod.process.surroundings import Command, Rules
from dynod.settings import Settings, load_settings, stop_rule

WEB = "web"
ONE_OFF = "run"
SETTINGS = "dynod.toml"
PLAN = "plan"  # the key under which the keeper keeps it


class UpPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the app that a core needs."""

    app: str
    folder: str
    commands: dict[str, str]  # process type → command, `release` included
    quantities: dict[str, int]
    manifest_env: dict[str, str]
    dotenv: list[dict[str, str]]
    healthchecks: dict[str, list[Healthcheck]]  # by process type
    settings: Settings
    default_port: int  # of the router
    started_at: float  # seconds since the epoch

    @property
    def has_web(self) -> bool:
        return WEB in self.quantities

    @property
    def config_vars(self) -> Mapping[str, str]:
        """What Heroku would have as the app's config vars: `env` of app.json, then the `.env` files, later ones win."""
        return {name: value for values in (self.manifest_env, *self.dotenv) for name, value in values.items()}

    def environment(self, dyno: str, port: int | None, container: Container | None = None) -> Mapping[str, str]:
        """The variables of one dyno; the caller's are those of now. With the places of its container, if it has one."""
        found = up_environment(
            caller=os.environ,
            dynod_prefix=sys.prefix,
            manifest_env=self.manifest_env,
            dotenv=self.dotenv,
            folder_bins=folder_bins(Path(self.folder)),
            dyno=dyno,
            port=port,
        )
        return found if container is None else contained_environment(found, folder=self.folder)

    def command(self, process_type: str, *, strict: bool, container: Container | None = None) -> Command:
        """How the dynos of a process type are started; `strict`: production's limits are enforced."""

        def variables(dyno: str, port: int | None) -> Mapping[str, str]:
            return self.environment(dyno, port, container)

        command = self.commands[process_type]
        rules = self.settings.dyno_rules(process_type, rows={})
        return Command(
            argv=analyse(command, shell=shutil.which("bash") or "/bin/sh").argv,
            shown=command,
            cwd=self.folder,
            environment=variables,
            stop=stop_rule(rules),
            rules=Rules(
                restart=rules.restart, enforce=strict, boot_timeout_s=rules.boot_timeout_s, cycle_s=rules.cycle_s
            ),
            checks=self.healthchecks.get(process_type, ()),
            container=container,
        )

    def one_off(self, command: str, environment: Mapping[str, str], *, container: Container | None = None) -> Command:
        """How a one-off dyno is started, with variables of its own before dynod's."""

        def variables(dyno: str, port: int | None) -> Mapping[str, str]:
            own = self.environment(dyno, port, container)
            return {**own, **environment, "DYNO": own["DYNO"], "PORT": own["PORT"]}

        rules = self.settings.dyno_rules(ONE_OFF, rows={})
        return Command(
            argv=analyse(command, shell=shutil.which("bash") or "/bin/sh").argv,
            shown=command,
            cwd=self.folder,
            environment=variables,
            stop=stop_rule(rules),
            rules=Rules(restart=rules.restart, enforce=False, cycle_s=rules.cycle_s),
            container=container,
        )


def plan_of(options: UpOptions, stored: Mapping[str, str]) -> UpPlan:
    """The plan that an earlier core has left with the keeper, else one that is made now. Raises as `make_plan`."""
    kept = stored.get(PLAN)
    return make_plan(options) if kept is None else from_note(kept, UpPlan)


def make_plan(options: UpOptions) -> UpPlan:
    """Read the folder. Raises AppFolderError with every fault there is, UsageError for the command line."""
    app, faults = inspect_app_folder(options.folder, procfile=options.procfile, env_files=options.env_files)
    if faults:
        raise AppFolderError("\n".join(str(fault) for fault in faults))
    formation = plan_formation(
        app.types,
        manifest_quantities=app.manifest.quantities,
        m_option=options.m_option,
        arguments=options.selection,
    )
    running = {*(name for name, quantity in formation.quantities.items() if quantity), *_release(options)}
    elsewhere = frozenset(os.environ).union(*app.env_values)
    plan = UpPlan(
        app=_named(options.app) if options.app is not None else app_name(app.folder),
        folder=str(app.folder),
        commands={declared.name: declared.command for declared in app.types},
        quantities=dict(formation.quantities),
        manifest_env=manifest_values(app.manifest, elsewhere=elsewhere, secret=lambda: secrets.token_hex(32)),
        dotenv=[dict(values) for values in app.env_values],
        healthchecks={name: list(checks) for name, checks in app.manifest.healthchecks.items()},
        settings=_settings(app.folder),
        default_port=_default_port(app.dotenv),
        started_at=time.time(),
    )
    if not formation.dynos and not (options.release and RELEASE in plan.commands):
        hint = "; --release runs the release process" if RELEASE in plan.commands else ""
        raise AppFolderError(f"nothing to run: {app.procfile} and the options give no dyno at all{hint}")
    path = plan.environment("check.1", None)["PATH"]
    selected = replace(app, types=tuple(declared for declared in app.types if declared.name in running))
    faults = (*missing_variables(app.manifest, elsewhere=elsewhere), *check_commands(selected, path=path))
    if faults:
        raise AppFolderError("\n".join(str(fault) for fault in faults))
    return plan


def _settings(folder: Path) -> Settings:
    """`dynod.toml` of the folder, if it has one. Raises SettingsError."""
    file = folder / SETTINGS
    return load_settings(file if file.exists() else None, environ=os.environ, verb="up")


def _release(options: UpOptions) -> set[str]:
    return {RELEASE} if options.release else set()


def _named(name: str) -> str:
    """An app name as given by `--app`: Heroku's rule for names."""
    if not name or len(name) > 30 or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in name):  # noqa: PLR2004 (Heroku's limit)
        raise AppFolderError(f"--app {name}: a name is 1 to 30 lower-case letters, digits and dashes")
    return name


def _default_port(dotenv: tuple[Dotenv, ...]) -> int:
    """`PORT` of the last `.env` that has one (contracts 4), else Heroku's 5000."""
    for file in reversed(dotenv):
        for variable in reversed(file.variables):
            port = variable.value
            if variable.name == "PORT" and port:
                if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):  # noqa: PLR2004 (the last TCP port)
                    message = f"PORT is {quoted(port)}: expected a port from 1 to 65535"
                    raise AppFolderError(str(Fault(file=file.file, line=variable.line, message=message)))
                return int(port)
    return DEFAULT_PORT
