"""npm, yarn (classic and modern) and pnpm: where each comes from, and what it is told for each stage of a build."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.node_request import Manager, NodeApp, exact_version
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange, read_version
from dynod.builds.packs.workspace import Workspace

IN_SLUG: Final = ".heroku/node-tools"  # managers that the machine lacks
# What an app gets that names no version: the last ones that read the lock files of all the versions before them.
DEFAULTS: Final = {Manager.YARN: "1.22.22", Manager.PNPM: "9.15.9"}
MODERN_YARN: Final = "@yarnpkg/cli-dist"  # yarn 2 and later; the package `yarn` is the classic one


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeManager:
    """A package manager that is ready to be run. `tools_on_path` is what a dyno needs to find it, or ""."""

    workspace: Workspace
    manager: Manager
    argv: tuple[str, ...]
    version: Version
    environment: dict[str, str] = field(repr=False)
    tools_on_path: str

    @property
    def described(self) -> str:
        return f"{self.manager.value} {self.version}"

    @property
    def _modern(self) -> bool:
        return self.manager is Manager.YARN and self.version.major > 1

    def install(self, *, locked: bool) -> None:
        """All packages, devDependencies too, which the build script needs; never another than the lock file names."""
        match self.manager:
            case Manager.NPM:
                arguments = ["ci" if locked else "install", "--include=dev", "--no-audit", "--no-fund"]
            case Manager.YARN if self._modern:
                arguments = ["install", "--immutable"] if locked else ["install"]
            case Manager.YARN:
                arguments = ["install", "--frozen-lockfile", "--production=false", "--non-interactive", "--no-progress"]
            case Manager.PNPM:
                arguments = ["install", "--frozen-lockfile" if locked else "--no-frozen-lockfile", "--prod=false"]
        if self.workspace.run([*self.argv, *arguments], self.environment) != 0:
            raise PackError(
                f"{self.manager.value} could not install the packages; what it printed is above.\n"
                "Where it says that the lock file and package.json differ: install on your machine, and commit both."
            )

    def run_script(self, name: str) -> list[str]:
        return [*self.argv, "run", name]

    def prune(self) -> None:
        match self.manager:
            case Manager.NPM:
                arguments = ["prune", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
            case Manager.YARN if self._modern:
                arguments = ["workspaces", "focus", "--all", "--production"]
            case Manager.YARN:
                arguments = [
                    "install",
                    "--production=true",
                    "--ignore-scripts",
                    "--prefer-offline",
                    "--frozen-lockfile",
                ]
            case Manager.PNPM:
                arguments = ["prune", "--prod", "--ignore-scripts"]
        if self.workspace.run([*self.argv, *arguments], self.environment) != 0:
            raise PackError(f"{self.manager.value} could not remove the devDependencies; what it printed is above.")


def manager_for(workspace: Workspace, app: NodeApp, environment: dict[str, str]) -> NodeManager:
    """The machine's, if its version will do; else the one asked for, fetched. Raises PackError where neither can be."""
    if app.manager is Manager.YARN and (committed := _committed_yarn(workspace)) is not None:
        return _ready(workspace, app, ("node", committed), environment, on_path="")
    if app.manager is Manager.PNPM:
        environment = environment | {"npm_config_store_dir": str(workspace.cache / "node/pnpm-store")}
    there = shutil.which(app.manager.value, path=environment["PATH"])
    wanted = app.manager_version
    if there is not None and not _is_corepack(there):
        found = read_version(workspace.answer([there, "--version"], environment) or "")
        if found is not None and (wanted is None or wanted.allows(found)):
            return _ready(workspace, app, (there,), environment, on_path="")
        if app.manager is Manager.NPM and found is not None and wanted is not None:
            console.detail(f"The machine's npm is {found}, and package.json asks for {wanted.written}")
    return _fetched(workspace, app, environment)


def _fetched(workspace: Workspace, app: NodeApp, environment: dict[str, str]) -> NodeManager:
    npm = shutil.which("npm", path=environment["PATH"])
    if npm is None:
        raise PackError("This machine has no npm, which fetches packages.\nInstall it; on Debian: apt-get install npm")
    what = _to_fetch(app)
    name = what.replace("/", "-").replace("@", "-").strip("-")
    kept = workspace.cache / "node/tools" / "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
    if not (kept / "complete").is_file():
        console.step(f"Fetching {what}")
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--omit=dev"]
        if workspace.run([npm, "install", "--prefix", kept, *options, what], environment) != 0:
            raise PackError(f"{what} could not be fetched from the npm registry; what npm printed is above.")
        (kept / "complete").touch()
    tools = workspace.build / IN_SLUG
    shutil.copytree(kept / "node_modules", tools / "node_modules", symlinks=True)
    program = tools / "node_modules/.bin" / app.manager.value
    on_path = f"$HOME/{IN_SLUG}/node_modules/.bin:"
    path = f"{program.parent}:{environment['PATH']}"
    return _ready(workspace, app, (str(program),), environment | {"PATH": path}, on_path=on_path)


def _to_fetch(app: NodeApp) -> str:
    wanted: VersionRange | str | None = app.manager_version or DEFAULTS.get(app.manager)
    if isinstance(wanted, VersionRange):
        exact = exact_version(wanted)
        modern = app.manager is Manager.YARN and exact is not None and exact.major > 1
        return f"{MODERN_YARN if modern else app.manager.value}@{exact or wanted.written}"
    return f"{app.manager.value}@{wanted or 'latest'}"


def _ready(
    workspace: Workspace, app: NodeApp, argv: tuple[str, ...], environment: dict[str, str], *, on_path: str
) -> NodeManager:
    version = read_version((workspace.answer([*argv, "--version"], environment) or "").strip())
    if version is None:
        raise PackError(f"{' '.join(argv)} does not run: asked for its version, it fails.")
    if app.manager_version is not None and not app.manager_version.allows(version):
        raise PackError(
            f"{app.manager.value} {app.manager_version.written} is asked for by package.json, and here is {version}."
        )
    if app.manager is Manager.YARN and version.major > 1:
        # Its other way, one archive for each package and a loader for them, would have its cache in the slug.
        environment = environment | {"YARN_NODE_LINKER": "node-modules"}
    return NodeManager(
        workspace=workspace,
        manager=app.manager,
        argv=argv,
        version=version,
        environment=environment,
        tools_on_path=on_path,
    )


def _committed_yarn(workspace: Workspace) -> str | None:
    """`yarnPath` of .yarnrc.yml: modern yarn is often part of the source."""
    for line in (workspace.read(".yarnrc.yml") or "").splitlines():
        name, _, value = line.partition(":")
        path = value.strip().strip("\"'")
        if name.strip() == "yarnPath" and path and workspace.read(path) is not None:
            return path
    return None


def _is_corepack(program: str) -> bool:
    """A stand-in that would fetch from a host of its own, past the registry that the machine is set up for."""
    return "corepack" in Path(os.path.realpath(program)).parts
