"""Aptfile: names of packages, URLs of .deb files, and `:repo:` lines with sources of packages, one a line. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from dynod.builds.packs.core.refused import PackError

MOST_LINES: Final = 500
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?([=/][A-Za-z0-9.+~:-]+)?")
_DEB: Final = re.compile(r"https?://[!-~]+\.deb(\?[!-~]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AptRequest:
    """What an Aptfile names."""

    packages: tuple[str, ...]
    archives: tuple[str, ...]
    sources: tuple[str, ...]


def read_aptfile(text: str) -> AptRequest:
    """Raises PackError with the number of a line that is none of the three: apt-get would take it for an option."""
    packages: list[str] = []
    archives: list[str] = []
    sources: list[str] = []
    for number, raw in enumerate(text.splitlines()[:MOST_LINES], start=1):
        line = raw.partition("#")[0].strip() if "://" not in raw else raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith(":repo:"):
            sources.append(line.removeprefix(":repo:").strip())
        elif _DEB.fullmatch(line):
            archives.append(line)
        elif all(_PACKAGE.fullmatch(word) for word in line.split()):
            packages += line.split()
        else:
            raise PackError(
                f'Aptfile line {number}: expected the name of a package, the URL of a .deb, or ":repo:deb …",\n'
                f'found "{line}".'
            )
    return AptRequest(packages=tuple(packages), archives=tuple(archives), sources=tuple(sources))


def downloaded_files(simulated: str) -> tuple[str, ...]:
    """The names of the archives that `apt-get --simulate install` says it would install: `Inst tree (2.1.0-1 … [all])`.

    As apt names them in its cache: an epoch's colon is escaped.
    """
    found = re.findall(r"^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) .*?\[(\w+)\]\)", simulated, re.MULTILINE)
    return tuple(f"{name.partition(':')[0]}_{version.replace(':', '%3a')}_{kind}.deb" for name, version, kind in found)


def profile(triplet: str, home: str) -> str:
    """What makes programs and libraries below `home/.apt` be found. `triplet`: Debian's, such as x86_64-linux-gnu."""
    apt = f"{home}/.apt"
    libraries = [f"{apt}/usr/lib/{triplet}", f"{apt}/usr/lib", f"{apt}/lib/{triplet}", f"{apt}/lib"]
    includes = [f"{apt}/usr/include/{triplet}", f"{apt}/usr/include"]
    packages = [f"{apt}/usr/lib/{triplet}/pkgconfig", f"{apt}/usr/lib/pkgconfig", f"{apt}/usr/share/pkgconfig"]
    lists = {
        "PATH": [f"{apt}/usr/bin", f"{apt}/usr/sbin", f"{apt}/bin"],
        "LD_LIBRARY_PATH": libraries,
        "LIBRARY_PATH": libraries,
        "INCLUDE_PATH": includes,
        "CPATH": includes,
        "CPPATH": includes,
        "PKG_CONFIG_PATH": packages,
    }
    return "".join(f'export {name}="{":".join(paths)}${{{name}:+:${name}}}"\n' for name, paths in lists.items())
