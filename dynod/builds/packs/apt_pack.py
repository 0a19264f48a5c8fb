"""heroku-community/apt: the packages of an Aptfile, downloaded by apt-get and unpacked to `.apt` in the slug.

Nothing is installed and nobody has to be root: apt-get works on lists and a cache of its own below CACHE_DIR, takes the
machine's word for what is installed already, and `dpkg -x` runs no package's scripts.
"""

import os
import shutil
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.apt_request import AptRequest, downloaded_files, profile, read_aptfile
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.workspace import Workspace

UNPACKED: Final = ".apt"
LISTS_LAST_S: Final = 24 * 3600.0  # seconds until the lists of packages are fetched again
FETCH_S: Final = 60.0  # seconds of silence from the server of a .deb
PIECE: Final = 1024 * 1024


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be had, with what to do about it."""
    request = read_aptfile(workspace.read("Aptfile") or "")
    for program in ("apt-get", "dpkg", "dpkg-deb"):
        if workspace.program(program) is None:
            raise PackError(
                f"An Aptfile needs {program}, which this machine does not have: it is Debian's and Ubuntu's."
            )
    apt = _Apt(workspace, request)
    for archive in apt.archives():
        console.step(f"Unpacking {archive.stem.partition('_')[0]}")
        workspace.must(
            ["dpkg", "-x", archive, workspace.build / UNPACKED],
            workspace.environment(),
            otherwise=f"{archive.name} could not be unpacked.",
        )
    if (workspace.build / UNPACKED).is_dir():
        _settle(workspace.build / UNPACKED)
    triplet = (workspace.answer(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"], workspace.environment()) or "").strip()
    triplet = triplet or f"{os.uname().machine}-linux-gnu"
    workspace.write_profile("000_apt.sh", profile(triplet, "$HOME"))
    workspace.write_export(profile(triplet, str(workspace.build)))


def process_types(_workspace: Workspace) -> Mapping[str, str]:
    return {}


class _Apt:
    """apt-get with folders of its own."""

    def __init__(self, workspace: Workspace, request: AptRequest) -> None:
        self._workspace = workspace
        self._request = request
        self._home = workspace.cache / "apt"
        sources = self._home / "sources.list"
        for folder in ("state/lists/partial", "cache/archives/partial", "fetched"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        wanted = "".join(f"{line}\n" for line in request.sources)
        if (sources.read_text() if sources.is_file() else "") != wanted:
            sources.write_text(wanted)
            (self._home / "updated").unlink(missing_ok=True)
        options = {"Dir::State": self._home / "state", "Dir::Cache": self._home / "cache", "Debug::NoLocking": "true"}
        options |= {"Dir::State::status": "/var/lib/dpkg/status", "APT::Sandbox::User": ""}
        if wanted:
            options["Dir::Etc::SourceParts"] = self._source_parts(sources)
        self._argv = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]

    def _source_parts(self, own: Path) -> Path:
        """A folder with the machine's own sources and the Aptfile's."""
        parts = self._home / "sources"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        said = self._workspace.answer(["apt-config", "shell", "PARTS", "Dir::Etc::sourceparts/d"], self._environment)
        machine = Path((said or "").strip().removeprefix("PARTS=").strip("'"))
        for file in machine.iterdir() if machine.is_dir() and machine.is_absolute() else ():
            shutil.copyfile(file, parts / file.name)
        shutil.copyfile(own, parts / "aptfile.list")
        return parts

    def archives(self) -> list[Path]:
        """The .deb files that are to be unpacked, in the order of their names."""
        found = [self._fetch(url) for url in self._request.archives]
        if self._request.packages:
            self._update()
            console.step(f"Fetching {', '.join(self._request.packages)}")
            options = ["-qq", "-y", "--download-only", "--reinstall", "--no-install-recommends", "--allow-downgrades"]
            simulation = [
                *self._argv,
                "install",
                "--simulate",
                "--reinstall",
                "--no-install-recommends",
                "--allow-downgrades",
            ]
            simulated = self._workspace.answer([*simulation, "--", *self._request.packages], self._environment)
            self._workspace.must(
                [*self._argv, "install", *options, "--", *self._request.packages],
                self._environment,
                otherwise="apt-get could not fetch the packages of the Aptfile; what it printed is above.",
            )
            files = [self._home / "cache/archives" / name for name in sorted(downloaded_files(simulated or ""))]
            missing = [file.name for file in files if not file.is_file()]
            if missing or not files:
                raise PackError(f"apt-get fetched something else than it said: {', '.join(missing) or 'nothing'}.")
            found += files
        return found

    @property
    def _environment(self) -> dict[str, str]:
        return self._workspace.environment(DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")

    def _update(self) -> None:
        stamp = self._home / "updated"
        if stamp.is_file() and 0 <= time.time() - stamp.stat().st_mtime < LISTS_LAST_S:
            return
        console.step("Fetching the lists of packages")
        self._workspace.must(
            [*self._argv, "update", "-qq"],
            self._environment,
            otherwise="apt-get could not fetch the lists of packages.",
        )
        stamp.touch()

    def _fetch(self, url: str) -> Path:
        console.step(f"Fetching {url}")
        target = self._home / "fetched" / url.rpartition("/")[2].partition("?")[0]
        partial = target.with_suffix(".partial")
        try:
            with (
                urllib.request.urlopen(url, timeout=FETCH_S) as answer,  # noqa: S310 - http and https alone: read_aptfile
                partial.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file, PIECE)
        except OSError as error:
            raise PackError(f"{url} could not be fetched: {error}.") from error
        partial.replace(target)
        return target


def _settle(unpacked: Path) -> None:
    """A slug holds no link that leads out of it: what is absolute, within `.apt`, becomes relative; else it goes."""
    dropped = []
    for folder, folders, files in os.walk(unpacked):
        for name in (*folders, *files):
            link = Path(folder, name)
            if not link.is_symlink():
                if link.is_file() and link.stat().st_mode & 0o6000:
                    link.chmod(link.stat().st_mode & 0o777)
                continue
            target = str(link.readlink())
            inside = (
                unpacked / target.lstrip("/")
                if target.startswith("/")
                else Path(os.path.normpath(link.parent / target))
            )
            if not inside.is_relative_to(unpacked) or (target.startswith("/") and not os.path.lexists(inside)):
                dropped.append(link)
                link.unlink()
            elif target.startswith("/"):
                link.unlink()
                link.symlink_to(os.path.relpath(inside, link.parent))
    if dropped:
        console.detail(f"Left out, as they lead out of the slug: {len(dropped)} links, such as {dropped[0].name}")
    for config in unpacked.rglob("*.pc"):
        text = config.read_text("utf-8", "surrogateescape")
        usr = os.path.relpath(unpacked / "usr", config.parent)  # pkg-config's own word for where the file lies
        config.write_text(text.replace("=/usr", "=${pcfiledir}/" + usr), "utf-8", "surrogateescape")
