"""`dynod check`: is this folder's app in order? Every problem at once, nothing started, nothing written.

May import app_folder and core. The same reading as `dynod up` does, so what passes here starts there.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from dynod.app_folder import AppFolder, check_commands, folder_bins, inspect_app_folder
from dynod.core.environment import manifest_values, missing_variables, up_environment
from dynod.core.fault import Fault
from dynod.core.formation import RELEASE, plan_formation
from dynod.errors import ExitStatus


@click.command("check")
@click.option("-C", "folder", default=".", metavar="DIR", help="The app's folder (default: this one).")
@click.option("-f", "--procfile", metavar="FILE", help="A Procfile of another name, relative to the folder.")
@click.option(
    "-e", "--env", "env_files", multiple=True, metavar="FILE", help="A .env file; repeatable, later ones win."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: str, procfile: str | None, env_files: tuple[str, ...], as_json: bool) -> int:
    """Check Procfile, app.json and .env: grammar, types, required variables, and that every program is there.

    Prints each problem with its file and line and exits 1, or shows what would run and exits 0.
    """
    app, faults = examine(
        Path(folder),
        procfile=Path(procfile) if procfile else None,
        env_files=[Path(name) for name in env_files] or None,
    )
    if as_json:
        click.echo(json.dumps(_document(app, faults), indent=2, ensure_ascii=False))
    elif faults:
        for fault in faults:
            click.echo(str(fault), err=True)
        click.echo(f"{len(faults)} problem{'s' if len(faults) > 1 else ''} in {app.folder}", err=True)
    else:
        click.echo(_summary(app))
    return ExitStatus.REFUSED if faults else ExitStatus.DONE


def examine(
    folder: Path, *, procfile: Path | None, env_files: Sequence[Path] | None
) -> tuple[AppFolder, tuple[Fault, ...]]:
    """Read the folder and add what shows only against this machine: required variables and programs."""
    app, faults = inspect_app_folder(folder, procfile=procfile, env_files=env_files)
    elsewhere = frozenset(os.environ).union(*app.env_values)
    environment = up_environment(
        caller=os.environ,
        dynod_prefix=sys.prefix,
        manifest_env=manifest_values(app.manifest, elsewhere=elsewhere, secret=str),
        dotenv=app.env_values,
        folder_bins=folder_bins(app.folder),
        dyno="check.1",
        port=None,
    )
    missing = missing_variables(app.manifest, elsewhere=elsewhere)
    return app, (*faults, *missing, *check_commands(app, path=environment["PATH"]))


def _summary(app: AppFolder) -> str:
    formation = plan_formation(app.types, manifest_quantities=app.manifest.quantities, m_option={}, arguments={})
    width = max(len(declared.name) for declared in app.types)
    lines = [f"{app.name}: {app.procfile} declares {len(app.types)} process type{'s' if len(app.types) > 1 else ''}"]
    for declared in app.types:
        quantity = formation.quantities.get(declared.name)
        number = (
            "runs first, with --release"
            if declared.name == RELEASE
            else f"{quantity} dyno{'' if quantity == 1 else 's'}"
        )
        lines.append(f"  {declared.name:<{width}}  {declared.command}  ({number})")
    lines += [f"{read.file} sets {', '.join(read.values) or 'nothing'}" for read in app.dotenv]
    return "\n".join([*lines, "OK"])


def _document(app: AppFolder, faults: Sequence[Fault]) -> object:
    formation = plan_formation(app.types, manifest_quantities=app.manifest.quantities, m_option={}, arguments={})
    return {
        "app": app.name,
        "folder": str(app.folder),
        "ok": not faults,
        "faults": [{"file": fault.file, "line": fault.line, "message": fault.message} for fault in faults],
        "types": [
            {
                "name": declared.name,
                "command": declared.command,
                "line": declared.line,
                "quantity": formation.quantities.get(declared.name, 0),
            }
            for declared in app.types
        ],
    }
