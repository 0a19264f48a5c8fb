"""heroku/nodejs: npm, yarn or pnpm by the lock file, the app's build script, and then without what only it needed.

Node.js is the machine's. A manager that the machine lacks comes from the npm registry, once, and goes into the slug,
since a Procfile may start it. node_modules is kept, as installed, for the next build with an equal lock file.
"""

import re
import shutil
from collections.abc import Mapping
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.node_request import (
    Manager,
    NodeApp,
    choose_node,
    default_process_types,
    keeps_dev_dependencies,
    modules_key,
    read_node_app,
)
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.node_managers import NodeManager, manager_for
from dynod.builds.packs.toolchains import Tool, nodes
from dynod.builds.packs.workspace import Workspace

DECISIVE: Final = re.compile(r"(npm_config|yarn|pnpm)_|node_env$", re.IGNORECASE)  # settings that change what is there


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be built, with what to do about it."""
    app = read_node_app(workspace.names, workspace.read)
    node = _choose(app)
    environment = _environment(workspace, node)
    workspace.note_interpreter("Node.js", node.version, node.path)
    manager = manager_for(workspace, app, environment)
    console.step(f"Using {manager.described}")
    _script(workspace, manager, app, "heroku-prebuild")
    _install(workspace, app, node, manager)
    if (build := app.build_script()) is not None:
        _script(workspace, manager, app, build)
    _prune(workspace, app, manager)
    _script(workspace, manager, app, "heroku-cleanup")
    path = f"{manager.tools_on_path}$HOME/node_modules/.bin:{workspace.on_path(node.path)}$PATH"
    home = f'export NODE_HOME="{node.path.parent.parent}"\n'
    workspace.write_profile(
        "nodejs.sh",
        f'export PATH="{path}"\n{home}export NODE_ENV="${{NODE_ENV:-production}}"\n',
    )
    here = path.replace("$HOME", str(workspace.build))
    workspace.write_export(f'export PATH="{here}"\n{home}')


def process_types(workspace: Workspace) -> Mapping[str, str]:
    return default_process_types(workspace.names, workspace.read)


def _choose(app: NodeApp) -> Tool:
    tools = {tool.version: tool for tool in nodes()}
    version = choose_node(app, list(tools))
    asked = f"engines.node asks for {app.node.written}" if app.node else "package.json asks for none"
    console.step(f"Using Node.js {version} ({asked})")
    if app.node is None:
        console.detail(f'To stay with it, say so in package.json: "engines": {{"node": "{version.major}.x"}}')
    return tools[version]


def _environment(workspace: Workspace, node: Tool) -> dict[str, str]:
    """Of every tool and script: NODE_ENV is production unless the app says otherwise, CI keeps tools from asking."""
    environment = workspace.environment(
        CI="true",
        npm_config_cache=workspace.cache / "node/npm",
        npm_config_update_notifier="false",
        npm_config_fund="false",
        npm_config_audit="false",
        npm_config_progress="false",
        YARN_CACHE_FOLDER=workspace.cache / "node/yarn",
        YARN_ENABLE_GLOBAL_CACHE="false",
        YARN_ENABLE_TELEMETRY="0",
        COREPACK_ENABLE_DOWNLOAD_PROMPT="0",
    )
    environment.setdefault("NODE_ENV", "production")
    environment["PATH"] = f"{workspace.build}/node_modules/.bin:{node.path.parent}:{environment.get('PATH', '')}"
    return environment


def _install(workspace: Workspace, app: NodeApp, node: Tool, manager: NodeManager) -> None:
    settings = [f"{name}={value}" for name, value in workspace.config_vars.items() if DECISIVE.match(name)]
    key = modules_key(app, workspace.read, node=node.version, manager=manager.described, settings=settings)
    modules, kept = workspace.build / "node_modules", workspace.cache / "node/modules"
    key_file = kept.with_name("modules.key")
    if key and not modules.exists() and key_file.is_file() and key_file.read_text() == key:
        console.step(f"Using the node_modules of before: {app.lock} and Node.js are the same")
        shutil.copytree(kept, modules, symlinks=True)
        for name in app.install_scripts():
            _script(workspace, manager, app, name)
        return
    console.step(f"Installing from {app.lock}" if app.lock else "Installing from package.json: there is no lock file")
    if modules.exists() and app.manager is Manager.NPM:
        console.detail("node_modules is part of the source; what is in it is replaced")
    manager.install(locked=bool(app.lock))
    key_file.unlink(missing_ok=True)  # until the copy is whole, nothing passes for it
    shutil.rmtree(kept, ignore_errors=True)
    if key and modules.is_dir():
        shutil.copytree(modules, kept, symlinks=True)
        key_file.write_text(key)


def _script(workspace: Workspace, manager: NodeManager, app: NodeApp, name: str) -> None:
    if name not in app.scripts:
        return
    console.step(f"Running the script {name}: {app.scripts[name]}")
    if workspace.run(manager.run_script(name), manager.environment) != 0:
        raise PackError(f"The script {name} of package.json failed; what it printed is above.")


def _prune(workspace: Workspace, app: NodeApp, manager: NodeManager) -> None:
    if not app.has_dev_dependencies or not (workspace.build / "node_modules").is_dir():
        return
    if keeps_dev_dependencies(app.manager, manager.environment):
        console.step("Keeping devDependencies, as NODE_ENV or a config var of the package manager says")
        return
    console.step("Removing devDependencies")
    manager.prune()
