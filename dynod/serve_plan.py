"""What the code of a release declares, and how its dynos are started with that release's config vars.

Read from a folder when the release is made, and kept with the release: whatever the folder holds later, the next core
and the next start of dynod go by what was released.
"""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from dynod.app_folder import check_commands, folder_bins, inspect_app_folder
from dynod.builds.stack_probe import manifest_of
from dynod.core.app_manifest import Healthcheck
from dynod.core.command import analyse
from dynod.core.container import HOME, Container, inside_path
from dynod.core.dyno import StopRule
from dynod.core.environment import manifest_values, missing_variables, serve_environment
from dynod.core.formation import RELEASE
from dynod.core.healthcheck import title
from dynod.core.procfile import ProcessType
from dynod.core.settings_table import DynoRules
from dynod.core.slug_start import after_profile, slug_argv
from dynod.errors import AppFolderError
from dynod.kept_notes import from_note
from dynod.process.surroundings import Command, Rules
from dynod.settings import stop_rule

WEB = "web"


class ServePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the app that a core needs."""

    app: str
    folder: str
    commands: dict[str, str]  # process type → command, `release` included
    first_quantities: dict[str, int]  # of app.json
    manifest_env: dict[str, str]
    healthchecks: dict[str, list[Healthcheck]]  # by process type
    by_profile: bool = False  # made by buildpacks: started after the scripts of .profile.d
    postdeploy: str = ""  # app.json's script for the first deploy

    @property
    def types(self) -> list[str]:
        """Those that have dynos."""
        return [name for name in self.commands if name != RELEASE]

    def first_quantity(self, process_type: str) -> int:
        """How many dynos a new app has: app.json's, else web 1 and the others 0, as Heroku's first deploy."""
        return self.first_quantities.get(process_type, 1 if process_type == WEB else 0)

    def code(self) -> "ServePlan":
        """What of it is the code's, to be compared."""
        return msgspec.structs.replace(self, app="", manifest_env={})

    def in_folder(self, folder: str) -> "ServePlan":
        """The same code, in another place."""
        return msgspec.structs.replace(self, folder=folder)

    def without_values(self) -> "ServePlan":
        """As it is kept: what app.json gives variables has become config vars."""
        return msgspec.structs.replace(self, manifest_env={})

    def environment(
        self, dyno: str, port: int | None, config: Mapping[str, str], container: Container | None = None
    ) -> Mapping[str, str]:
        """The variables of one dyno, built from nothing; with the paths of its container, if it has one."""
        bins = folder_bins(Path(self.folder))
        return serve_environment(
            daemon=os.environ,
            config_vars=config,
            home=self.folder if container is None else HOME,
            folder_bins=bins if container is None else [inside_path(path, self.folder) for path in bins],
            dyno=dyno,
            port=port,
        )

    def command(
        self,
        process_type: str,
        rules: DynoRules,
        *,
        config: Mapping[str, str],
        release: int,
        container: Container | None = None,
    ) -> Command:
        """How the dynos of a process type are started."""

        def variables(dyno: str, port: int | None) -> Mapping[str, str]:
            return self.environment(dyno, port, config, container)

        shown = self.commands[process_type]
        stop, held = held_to(rules)
        return Command(
            argv=self._argv(shown),
            shown=shown,
            cwd=self.folder,
            environment=variables,
            stop=stop,
            rules=held,
            checks=[self._check(check) for check in self.healthchecks.get(process_type, ())],
            release=release,
            overlaps=rules.overlap,
            container=container,
        )

    def _check(self, check: Healthcheck) -> Healthcheck:
        """A command of one finds what the dyno's own does, and messages name it as app.json does."""
        shell = shutil.which("bash")
        if not (self.by_profile and check.command and shell is not None):
            return check
        return replace(check, name=title(check), command=tuple(after_profile(check.command, bash=shell)))

    def _argv(self, command: str) -> Sequence[str]:
        shell = shutil.which("bash")
        if self.by_profile and shell is not None:
            return slug_argv(command, bash=shell)
        return analyse(command, shell=shell or "/bin/sh").argv

    def one_off(
        self,
        command: str,
        environment: Mapping[str, str],
        rules: DynoRules,
        *,
        config: Mapping[str, str],
        release: int,
        container: Container | None = None,
        enters: str | None = None,
    ) -> Command:
        """How a one-off dyno is started, with variables of its own before dynod's."""

        def variables(dyno: str, port: int | None) -> Mapping[str, str]:
            own = self.environment(dyno, port, config, container)
            return {**own, **environment, "DYNO": own["DYNO"], "PORT": own["PORT"]}

        return Command(
            argv=self._argv(command),
            shown=command,
            cwd=self.folder,
            environment=variables,
            stop=stop_rule(rules),
            rules=Rules(restart=rules.restart, enforce=True, cycle_s=rules.cycle_s),
            release=release,
            container=container,
            enters=enters,
        )


def held_to(rules: DynoRules) -> tuple[StopRule, Rules]:
    """How dynos are stopped, and what they are held to."""
    return stop_rule(rules), Rules(
        restart=rules.restart, enforce=True, boot_timeout_s=rules.boot_timeout_s, cycle_s=rules.cycle_s
    )


def empty_plan(app: str, folder: str) -> ServePlan:
    """An app of which nothing can run."""
    return ServePlan(app=app, folder=folder, commands={}, first_quantities={}, manifest_env={}, healthchecks={})


def declares_release(plan: str | None) -> bool:
    """Whether the code of a release has a release command. `plan` is its note; None: there is no code."""
    return plan is not None and RELEASE in from_note(plan, ServePlan).commands


def make_serve_plan(
    app: str,
    folder: Path,
    *,
    config: Mapping[str, str] | None = None,
    process_types: Mapping[str, str] | None = None,
) -> ServePlan:
    """Read the folder; `.env` is a laptop's and not read. Raises AppFolderError with every fault there is.

    `config`: the config vars that are set already, for which app.json generates nothing. `process_types`: those of a
    slug, which count instead of a Procfile's.
    """
    config = config or {}
    declared = None
    if process_types is not None:
        declared = [
            ProcessType(name=name, command=command, line=line)
            for line, (name, command) in enumerate(process_types.items(), start=1)
        ]
    slug = manifest_of(folder)
    read, faults = inspect_app_folder(folder, declared=declared)
    manifest = read.manifest
    plan = ServePlan(
        app=app,
        folder=str(read.folder),
        commands={declared.name: declared.command for declared in read.types},
        first_quantities=dict(manifest.quantities),
        manifest_env={
            **(slug.config_vars if slug is not None else {}),
            **manifest_values(manifest, elsewhere=config.keys(), secret=lambda: secrets.token_hex(32)),
        },
        healthchecks={name: list(checks) for name, checks in manifest.healthchecks.items()},
        by_profile=slug is not None,
        postdeploy=manifest.scripts.get("postdeploy", ""),
    )
    path = plan.environment("check.1", None, {**plan.manifest_env, **config})["PATH"]
    faults = (*faults, *missing_variables(manifest, elsewhere=config.keys()))
    if slug is None:  # else PATH is what its scripts make of it
        faults = (*faults, *check_commands(read, path=path))
    if faults:
        raise AppFolderError("\n".join(str(fault) for fault in faults))
    return plan
