"""What a Gemfile and its lock ask for: which Ruby, which Bundler; and how the app is started. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.builds.packs.core.catalogue import Read
from dynod.builds.packs.core.npm_range import read_npm_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange, after, between

_GEMFILE_RUBY: Final = re.compile(r"""^\s*ruby\s*\(?\s*((?:["'][^"']+["']\s*,?\s*)+)""", re.MULTILINE)
_QUOTED: Final = re.compile(r"""["']([^"']+)["']""")
_LOCKED_RUBY: Final = re.compile(r"^RUBY VERSION\n\s+ruby (\d+\.\d+\.\d+)", re.MULTILINE)
_LOCKED_GEM: Final = re.compile(r"^ {4}([A-Za-z0-9_.-]+) \(", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RubyRequest:
    """The versions that will do, and the file that says so."""

    range: VersionRange
    file: str


def ruby_request(read: Read) -> RubyRequest | None:
    """In Bundler's order: the Gemfile, which may name a range or a file, then what the lock was made with."""
    gemfile = read("Gemfile") or ""
    if (match := _GEMFILE_RUBY.search(gemfile)) is not None:
        return RubyRequest(range=_range(" ".join(_QUOTED.findall(match[1]))), file="Gemfile")
    if (match := _LOCKED_RUBY.search(read("Gemfile.lock") or "")) is not None:
        return RubyRequest(range=_range(match[1]), file="Gemfile.lock")
    if (text := read(".ruby-version")) is not None and text.strip():
        return RubyRequest(range=_range(text.strip().removeprefix("ruby-")), file=".ruby-version")
    return None


def check_ruby(request: RubyRequest | None, there: Version | None) -> None:
    """Raises PackError where the machine's Ruby is not the one, or there is none."""
    wanted = f", and {request.file} asks for {request.range.written}" if request else ""
    if there is None:
        raise PackError(f"This machine has no Ruby{wanted}.\nInstall it; on Debian: apt-get install ruby ruby-bundler")
    if request is not None and not request.range.allows(there):
        raise PackError(
            f"This machine has Ruby {there}{wanted}.\n"
            f"Install one that will do (rbenv install, ruby-install, or your distribution's packages) and put it\n"
            f"first on the build's PATH; or change {request.file}."
        )


def locked_gems(read: Read) -> frozenset[str]:
    """The names of all gems in Gemfile.lock."""
    return frozenset(_LOCKED_GEM.findall(read("Gemfile.lock") or ""))


def default_process_types(names: Collection[str], read: Read) -> Mapping[str, str]:
    """Heroku's: a Rails server, or what config.ru says; rake and a console beside it."""
    gems = locked_gems(read)
    types: dict[str, str] = {}
    if "rails" in gems or "railties" in gems:
        types["web"] = "bin/rails server -b 0.0.0.0 -p ${PORT:-5000} -e $RAILS_ENV"
        types["console"] = "bin/rails console"
    elif "config.ru" in names:
        types["web"] = "bundle exec rackup config.ru -o 0.0.0.0 -p ${PORT:-5000}"
    if "rake" in gems:
        types["rake"] = "bundle exec rake"
    return types


def _range(text: str) -> VersionRange:
    """RubyGems' `~> 3.1` reaches up to 4, `~> 3.1.2` up to 3.2; a plain `3.1.2` is that one, `3.1` any 3.1."""
    squiggly = re.fullmatch(r"~>\s*(\d+(?:\.\d+)*)", text)
    if squiggly is None:
        return VersionRange(written=text, alternatives=read_npm_range(re.sub(r"p\d+$", "", text)).alternatives)
    parts = tuple(int(part) for part in squiggly[1].split("."))
    low = read_npm_range(f">={squiggly[1]}").alternatives[0][0].version
    return VersionRange(written=text, alternatives=(between(low, after(parts[:-1] or parts)),))
