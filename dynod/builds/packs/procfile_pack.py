"""heroku/procfile: an app that is built already, or needs no building. Its Procfile says how it is started."""

from collections.abc import Mapping

from dynod.builds.packs import console
from dynod.builds.packs.workspace import Workspace


def compile_app(workspace: Workspace) -> None:
    """Nothing has to be done; a Procfile that is missing is the deploy's to report, with the process types."""
    declared = [line.partition(":")[0] for line in (workspace.read("Procfile") or "").splitlines() if ":" in line]
    console.step(f"Nothing to build: the Procfile starts what is there ({', '.join(declared)})")


def process_types(_workspace: Workspace) -> Mapping[str, str]:
    return {}
