"""The three folders that a classic buildpack is given, and how a language's tools are run in them.

Config vars come as files (ENV_DIR), not in the environment: tools get them, but for those that would decide which
programs run. The build's own caches lie below CACHE_DIR, which may not exist yet.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.refused import PackError

# Heroku's own list ("Buildpack API", export_env_dir), and what else makes a program another one.
NOT_EXPORTED: Final = frozenset(
    {"PATH", "GIT_DIR", "CPATH", "CPPATH", "LD_PRELOAD", "LIBRARY_PATH"}
    | {"HOME", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "IFS", "PYTHONHOME", "PYTHONSTARTUP"}
)
AUTHORITIES: Final = Path(
    "/etc/ssl/certs/ca-certificates.crt"
)  # Debian's; a company's own is in it where it is trusted
TRUST: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
SYSTEM_FOLDERS: Final = frozenset({"/usr/local/bin", "/usr/bin", "/bin"})  # of every dyno's PATH
LONGEST_TEXT: Final = 16 * 1024 * 1024  # bytes of a file that is read whole: lock files come to a few megabytes


@dataclass(frozen=True)  # no slots: cached_property keeps what it found in the instance
class Workspace:
    """BUILD_DIR, CACHE_DIR and ENV_DIR of one build, and the buildpack's own folder, where `export` goes."""

    build: Path
    cache: Path
    config_vars: Mapping[str, str] = field(repr=False)
    pack_dir: Path | None

    @cached_property
    def names(self) -> frozenset[str]:
        """Paths of the app's top folder, and of the folders in it: what detection goes by."""
        found: set[str] = set()
        for entry in self.build.iterdir():
            found.add(entry.name)
            if entry.is_dir() and not entry.is_symlink() and entry.name not in {".git", "node_modules", ".heroku"}:
                found.update(f"{entry.name}/{inner.name}" for inner in entry.iterdir())
        return frozenset(found)

    def read(self, path: str) -> str | None:
        """The text of a file of the app; None where there is none. Not through links that lead elsewhere."""
        file = self.build / path
        try:
            if not file.is_file() or not file.resolve().is_relative_to(self.build.resolve()):
                return None
            if file.stat().st_size > LONGEST_TEXT:
                raise PackError(f"{path} has {file.stat().st_size} bytes, which is too many to read.")
            return file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        except (OSError, ValueError):
            return None

    def environment(self, **more: str | Path) -> dict[str, str]:
        """For a tool: the build's, the app's config vars, the machine's certificate authorities, and `more`."""
        machine = {name: str(AUTHORITIES) for name in TRUST} if AUTHORITIES.is_file() else {}
        config = {name: value for name, value in self.config_vars.items() if name not in NOT_EXPORTED}
        return machine | dict(os.environ) | config | {name: str(value) for name, value in more.items()}

    def run(
        self,
        argv: Sequence[str | Path],
        env: Mapping[str, str],
        *,
        shown: Callable[[str], bool] = lambda _line: True,
    ) -> int:
        """Run a tool in BUILD_DIR, its output as it comes, indented. Returns its status; `shown` drops lines."""
        with subprocess.Popen(  # noqa: S603 - the tool and its arguments are ours, and no shell is involved
            [str(word) for word in argv],
            cwd=self.build,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                if shown(line):
                    console.detail(line.rstrip().rpartition("\r")[2])
        return process.returncode

    def must(self, argv: Sequence[str | Path], env: Mapping[str, str], *, otherwise: str) -> None:
        """As `run`, and raises PackError with `otherwise` where the tool fails."""
        if (status := self.run(argv, env)) != 0:
            raise PackError(f"{otherwise}\n({Path(str(argv[0])).name} ended with status {status}.)")

    def answer(self, argv: Sequence[str | Path], env: Mapping[str, str]) -> str | None:
        """What a tool prints, where it succeeds; what it complains about is not shown."""
        try:
            done = subprocess.run(  # noqa: S603 - as above
                [str(word) for word in argv],
                cwd=self.build,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError:
            return None
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

    def write_profile(self, name: str, text: str) -> None:
        """A `.profile.d` script: what every dyno sources before its command."""
        folder = self.build / ".profile.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def write_export(self, text: str) -> None:
        """What the build sources before the next buildpack."""
        if self.pack_dir is not None:
            (self.pack_dir / "export").write_text(text)

    def note_interpreter(self, name: str, version: object, path: str | Path) -> None:
        """For the slug's manifest: what has to be on a machine where this is to run."""
        if self.pack_dir is not None:
            with (self.pack_dir / "interpreters").open("a") as file:
                file.write(f"{name} {version} {path}\n")

    def on_path(self, program: str | Path) -> str:
        """The folder of a program, for PATH, where the machine's own PATH would not find it: `/opt/php/bin:`, or ""."""
        folder = Path(program).parent
        return "" if str(folder) in SYSTEM_FOLDERS else f"{folder}:"

    def program(self, name: str) -> str | None:
        """Where a program of this machine is, by the build's own PATH."""
        return shutil.which(name, path=os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"))


def open_workspace(build: str, cache: str | None = None, env: str | None = None) -> Workspace:
    """As the arguments of a buildpack's scripts have them; `detect` and `release` are given BUILD_DIR alone."""
    folder = Path(build).resolve()
    if not folder.is_dir():
        raise PackError(f"There is no folder {folder} to build in.")
    kept = Path(cache).resolve() if cache else folder / ".no-cache"
    if cache:
        kept.mkdir(parents=True, exist_ok=True)
    files = sorted(Path(env).iterdir()) if env and Path(env).is_dir() else []
    config_vars = {f.name: f.read_text("utf-8", "surrogateescape") for f in files if f.is_file()}
    pack_dir = os.environ.get("DYNOD_BUILDPACK_DIR")
    return Workspace(build=folder, cache=kept, config_vars=config_vars, pack_dir=Path(pack_dir) if pack_dir else None)
