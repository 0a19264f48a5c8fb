"""What a package.json asks for: which Node.js, which package manager, which scripts. Pure."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from dynod.builds.packs.core.catalogue import Read
from dynod.builds.packs.core.npm_range import read_npm_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange, read_version

LAYOUT: Final = "1"  # of what is kept: another one makes every node_modules anew
ON_INSTALL: Final = ("preinstall", "install", "postinstall", "prepare")  # of the app itself, which `npm ci` runs
_PACKAGE_MANAGER: Final = re.compile(r"(npm|yarn|pnpm)@(\d[0-9A-Za-z.-]*)(?:\+[0-9A-Za-z.]+)?")


class Manager(Enum):
    """Whose lock file is there. The value is the program."""

    NPM = "npm"
    YARN = "yarn"
    PNPM = "pnpm"


LOCK_FILES: Final = (
    (Manager.YARN, "yarn.lock"),
    (Manager.PNPM, "pnpm-lock.yaml"),
    (Manager.NPM, "package-lock.json"),
    (Manager.NPM, "npm-shrinkwrap.json"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeApp:
    """A package.json with what stands beside it. `lock` is "" where there is no lock file.

    `manager_version` is exact where `packageManager` says so, a range where `engines` does, None where nothing does.
    """

    scripts: Mapping[str, str]
    node: VersionRange | None
    manager: Manager
    manager_version: VersionRange | None
    lock: str
    has_dev_dependencies: bool
    has_workspaces: bool

    def build_script(self) -> str | None:
        """Heroku's own script goes before `build`, and only one of the two is run."""
        return next((name for name in ("heroku-postbuild", "build") if name in self.scripts), None)

    def install_scripts(self) -> tuple[str, ...]:
        return tuple(name for name in ON_INSTALL if name in self.scripts)


def read_node_app(names: Collection[str], read: Read) -> NodeApp:
    """Raises PackError for a package.json that cannot be understood, or lock files of two managers."""
    package = _object(read("package.json") or "")
    engines = _strings(package.get("engines"))
    locks = [(manager, file) for manager, file in LOCK_FILES if file in names]
    if len({manager for manager, _ in locks}) > 1:
        raise PackError(
            f"There are lock files of different package managers: {' and '.join(file for _, file in locks)}.\n"
            "They can disagree about what is installed: keep the one that you use."
        )
    named = _PACKAGE_MANAGER.fullmatch(str(package.get("packageManager", "")))
    manager = locks[0][0] if locks else Manager(named[1]) if named else Manager.NPM
    wanted: VersionRange | None = None
    if named and named[1] == manager.value:
        wanted = read_npm_range(f"={named[2]}")
    elif manager.value in engines:
        wanted = _range_of(engines[manager.value], manager.value)
    return NodeApp(
        scripts=_strings(package.get("scripts")),
        node=_range_of(engines["node"], "node") if engines.get("node") else None,
        manager=manager,
        manager_version=wanted,
        lock=locks[0][1] if locks else "",
        has_dev_dependencies=bool(package.get("devDependencies")),
        has_workspaces=bool(package.get("workspaces")) or "pnpm-workspace.yaml" in names,
    )


def choose_node(app: NodeApp, there: Collection[Version]) -> Version:
    """Of the versions on this machine, the preferred one first. Raises PackError for none that will do."""
    if not there:
        wanted = f" (package.json asks for {app.node.written})" if app.node else ""
        raise PackError(f"This machine has no Node.js{wanted}.\nInstall it; on Debian: apt-get install nodejs npm")
    if app.node is None:
        return next(iter(there))
    best = app.node.best_of(there)
    if best is None:
        has = ", ".join(str(version) for version in sorted(there, key=lambda v: v.order))
        raise PackError(
            f"Node.js {app.node.written} is asked for by engines.node of package.json, and this machine has {has}.\n"
            "Install one that will do (nvm install, or your distribution's nodejs) where the build finds it:\n"
            "on PATH, in /usr/local/bin, or under /opt/node-…; or change engines.node."
        )
    return best


def modules_key(app: NodeApp, read: Read, *, node: Version, manager: str, settings: Collection[str]) -> str:
    """What a kept node_modules is known by; "" where no file says exactly what is in it."""
    if not app.lock or app.has_workspaces:
        return ""
    package = _object(read("package.json") or "")
    asked = {
        name: package.get(name) for name in ("dependencies", "devDependencies", "optionalDependencies", "overrides")
    }
    locals_ = [v for group in asked.values() for v in _strings(group).values() if v.startswith(("file:", "link:", "."))]
    if locals_:
        return ""
    parts = (LAYOUT, str(node), manager, json.dumps(asked, sort_keys=True), read(app.lock) or "", read(".npmrc") or "")
    digest = sha256()
    for part in (*parts, *sorted(settings)):
        text = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()


def default_process_types(names: Collection[str], read: Read) -> Mapping[str, str]:
    """Heroku's: `npm start`, where there is a script for it, or the server.js that npm starts without one."""
    if "start" in _strings(_object(read("package.json") or "").get("scripts")) or "server.js" in names:
        return {"web": "npm start"}
    return {}


def keeps_dev_dependencies(manager: Manager, environment: Mapping[str, str]) -> bool:
    """Whether what only the build needed stays in the slug: Heroku's settings for it."""
    if environment.get("NODE_ENV", "production") != "production":
        return True
    match manager:
        case Manager.NPM:
            return environment.get("NPM_CONFIG_PRODUCTION") == "false"
        case Manager.YARN:
            return environment.get("YARN_PRODUCTION") == "false" or environment.get("YARN2_SKIP_PRUNING") == "true"
        case Manager.PNPM:
            return environment.get("PNPM_SKIP_PRUNING") == "true"


def exact_version(wanted: VersionRange) -> Version | None:
    """`packageManager`'s, which is one version and no range."""
    return read_version(wanted.written.removeprefix("=")) if wanted.written.startswith("=") else None


def _range_of(text: str, name: str) -> VersionRange:
    try:
        return read_npm_range(text)
    except PackError as error:
        raise PackError(f"engines.{name} of package.json: {error}") from error


def _object(text: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PackError(f"package.json is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise PackError("package.json has to be an object.")
    return value


def _strings(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(name, str) and isinstance(text, str)}
