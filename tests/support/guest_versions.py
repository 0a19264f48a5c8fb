"""Versions of dynod in a booted guest, as pip would have put them there, from what this environment has.

To build and install a wheel for each would take longer than everything that is then looked at; that it can be done is
shown elsewhere (test_systemd_service.py, test_wheel.py). As pip does, it leaves compiled code beside the sources: the
service may not write there, and each of its processes would compile all of it again.
"""

import importlib.metadata
import shutil
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from support.booted import PYTHON, Booted
from support.source_tree import PACKAGES, REPOSITORY, written_files
from support.versions import write_breaks

VERSIONS: Final = "/opt/dynod"
SHARED: Final = f"{VERSIONS}/.packages"  # what every version needs beside dynod
SITE: Final = "lib/python3.11/site-packages"  # of the guest's Python (support.booted)


def add(vm: Booted, version: str, *, breaks: str = "") -> str:
    """An environment of that version; returns its `dynod`. `breaks`: as in `support.versions`."""
    shared = vm.path(SHARED)
    if not shared.exists():
        _copy_requirements(shared)
    environment = f"{VERSIONS}/{version}"
    here = vm.path(environment)
    _copy_dynod(here / SITE, version)
    (here / SITE / "shared.pth").write_text(f"{SHARED}\n")
    write_breaks(here / SITE, breaks)
    shutil.copytree(REPOSITORY / "systemd", here / "share/dynod/systemd")
    (here / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\ninclude-system-site-packages = false\n")
    (here / "bin").mkdir()
    (here / "bin/python").symlink_to(PYTHON)
    script = here / "bin/dynod"
    script.write_text(f"#!{environment}/bin/python\nimport sys\nfrom dynod.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return f"{environment}/bin/dynod"


def _copy_dynod(to: Path, version: str) -> None:
    extensions = list((REPOSITORY / "router").glob("*.so"))
    for path in [*written_files(), *extensions]:
        relative = path.relative_to(REPOSITORY)
        if relative.parts[0] in PACKAGES:
            _copy(path, to / relative)
    own = to / "dynod/__init__.py"
    own.write_text(f'{own.read_text()}\n__version__ = "{version}"\n')


def _copy_requirements(to: Path) -> None:
    wanted, found = ["dynod"], set[str]()
    while wanted:
        name = wanted.pop()
        distribution = importlib.metadata.distribution(name)
        if name != "dynod":
            for file in distribution.files or ():
                source = Path(str(distribution.locate_file(file)))
                if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                    _copy(source, to / file)
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.name not in found and (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                found.add(requirement.name)
                wanted.append(requirement.name)


def _copy(source: Path, to: Path) -> None:
    """With its time, by which what was compiled of it is known as its own; of another Python's it is not looked at."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, to)
    compiled = Path(cache_from_source(str(source)))
    if source.suffix == ".py" and compiled.is_file():
        (to.parent / compiled.parent.name).mkdir(exist_ok=True)
        shutil.copy2(compiled, to.parent / compiled.parent.name / compiled.name)
