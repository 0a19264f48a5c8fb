"""What go.mod, Gemfile, composer.json and Aptfile ask for."""

import json

import pytest

from dynod.builds.packs.core.apt_request import downloaded_files, profile, read_aptfile
from dynod.builds.packs.core.go_request import check_go, go_version, read_go_mod
from dynod.builds.packs.core.go_request import default_process_types as go_types
from dynod.builds.packs.core.php_request import check_php, read_composer
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.ruby_request import check_ruby, locked_gems, ruby_request
from dynod.builds.packs.core.ruby_request import default_process_types as ruby_types
from dynod.builds.packs.core.version import Version, read_version

GO = "module example.com/cmd/hello/v2\n"


@pytest.mark.parametrize(
    ("go_mod", "there", "refused"),
    [
        (GO, "go version go1.19.8 linux/amd64", None),
        (f"{GO}go 1.19\n", "go version go1.19.8 linux/amd64", None),
        (f"{GO}go 1.19\n", "go version go1.22.1 linux/amd64", None),
        (f"{GO}go 1.22.1\ntoolchain go1.23.0\n", "go version go1.22.1 linux/amd64", None),
        (f"{GO}go 1.22\n", "go version go1.19.8 linux/amd64", "Go 1.19.8, and go.mod asks for 1.22 or newer"),
        (f"{GO}// +heroku goVersion go1.21\ngo 1.19\n", "go version go1.22.1 x", "go.mod asks for go1.21"),
        (f"{GO}// +heroku goVersion go1.21\n", "go version go1.21.9 x", None),
        (f"{GO}// +heroku goVersion 1.21.3\n", "go version go1.21.9 x", "asks for 1.21.3"),
        (f"{GO}go 1.22\n", "", "no Go, and go.mod asks for 1.22 or newer"),
    ],
)
def test_gos_version_is_honoured_or_the_build_fails(go_mod: str, there: str, refused: str | None) -> None:
    request = read_go_mod(go_mod)
    if refused is None:
        check_go(request, go_version(there))
        return
    with pytest.raises(PackError, match=refused):
        check_go(request, go_version(there))


@pytest.mark.parametrize("text", ["", "go 1.19\n", f"{GO}go one\n", f"{GO}// +heroku install -exec=rm\n"])
def test_a_go_mod_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(PackError, match=r"go\.mod"):
        read_go_mod(text)


@pytest.mark.parametrize(
    ("programs", "module", "types"),
    [
        (["hello", "tool"], "example.com/hello", {"web": "bin/hello"}),
        (["hello", "tool"], "example.com/hello/v2", {"web": "bin/hello"}),
        (["server"], "example.com/hello", {"web": "bin/server"}),
        (["server", "tool"], "example.com/hello", {}),
        ([], "hello", {}),
    ],
)
def test_a_go_app_without_a_procfile_starts_its_program(
    programs: list[str], module: str, types: dict[str, str]
) -> None:
    assert go_types(programs, module) == types


def test_heroku_s_comment_says_what_is_built() -> None:
    assert read_go_mod(GO).packages == ("./...",)
    assert read_go_mod(f"{GO}// +heroku install ./cmd/web ./cmd/job\n").packages == ("./cmd/web", "./cmd/job")


GEMS = "GEM\n  specs:\n    rack (3.0)\n    rails (7.1)\n      rack (>= 2)\n    rake (13.0)\n"
LOCK = f"{GEMS}\nRUBY VERSION\n   ruby 3.1.2p20\n"


@pytest.mark.parametrize(
    ("files", "allowed", "refused"),
    [
        ({"Gemfile": 'ruby "3.1.2"\n'}, "3.1.2", "3.1.3"),
        ({"Gemfile": 'ruby "~> 3.1"\n'}, "3.1.0 3.4.1", "4.0.0 3.0.9"),
        ({"Gemfile": "ruby '~> 3.1.2'\n"}, "3.1.9", "3.2.0 3.1.1"),
        ({"Gemfile": 'ruby ">= 3.0", "< 3.2"\n'}, "3.1.7", "3.2.0"),
        ({"Gemfile": "source 'x'\n", "Gemfile.lock": LOCK}, "3.1.2", "3.1.7"),
        ({"Gemfile": "", ".ruby-version": "ruby-3.1\n"}, "3.1.7", "3.2.0"),
        ({"Gemfile": ""}, "2.7.0 3.1.7", ""),
    ],
)
def test_rubys_version_is_honoured_or_the_build_fails(files: dict[str, str], allowed: str, refused: str) -> None:
    request = ruby_request(files.get)
    for version in allowed.split():
        check_ruby(request, read_version(version))
    for version in refused.split():
        with pytest.raises(PackError, match=f"This machine has Ruby {version}, and "):
            check_ruby(request, read_version(version))
    with pytest.raises(PackError, match="apt-get install ruby"):
        check_ruby(request, None)


@pytest.mark.parametrize(
    ("names", "lock", "types"),
    [
        (["config.ru"], "", {"web": "bundle exec rackup config.ru -o 0.0.0.0 -p ${PORT:-5000}"}),
        (["config.ru"], LOCK, {"web": "bin/rails server -b 0.0.0.0 -p ${PORT:-5000} -e $RAILS_ENV"}),
        ([], "", {}),
    ],
)
def test_a_ruby_app_without_a_procfile_is_started_as_on_heroku(
    names: list[str], lock: str, types: dict[str, str]
) -> None:
    found = ruby_types(names, {"Gemfile.lock": lock}.get)
    assert {name: command for name, command in found.items() if name == "web"} == types
    assert ("rake" in found) is bool(lock)


def test_only_gems_are_gems() -> None:
    assert locked_gems({"Gemfile.lock": LOCK}.get) == {"rack", "rails", "rake"}


@pytest.mark.parametrize(
    ("require", "there", "refused"),
    [
        ({}, "8.2.36", None),
        ({"php": "^8.1", "ext-JSON": "*"}, "8.2.36", None),
        ({"php": "^8.3"}, "8.2.36", "This machine has PHP 8.2.36, and composer.json asks for \\^8.3"),
        ({"php": "^8.3"}, None, "no PHP, and composer.json asks for \\^8.3"),
        ({"ext-intl": "*", "ext-gd": "*"}, "8.2.36", "PHP's gd, intl, .*\n.*apt-get install php-gd php-intl"),
    ],
)
def test_phps_version_and_extensions_are_honoured_or_the_build_fails(
    require: dict[str, str], there: str | None, refused: str | None
) -> None:
    request = read_composer(json.dumps({"require": require}))
    version = read_version(there) if there else None
    if refused is None:
        check_php(request, version, ["Core", "json"])
        return
    with pytest.raises(PackError, match=refused):
        check_php(request, version, ["Core", "json"])


def test_composer_has_something_to_do_where_packages_are_required() -> None:
    assert not read_composer(None).packages
    assert not read_composer("{}").packages
    assert not read_composer('{"require": {"php": "*"}}').packages
    assert read_composer('{"require": {"monolog/monolog": "^3"}}').packages
    for text in ("[]", "{"):
        with pytest.raises(PackError, match=r"composer\.json"):
            read_composer(text)


def test_an_aptfile_names_packages_archives_and_sources() -> None:
    read = read_aptfile(
        "# ours\nlibvips42 imagemagick\n\nlibxml2=2.9\nhttp://x.org/a.deb?x=1\n:repo:deb http://y z main\n"
    )
    assert read.packages == ("libvips42", "imagemagick", "libxml2=2.9")
    assert read.archives == ("http://x.org/a.deb?x=1",)
    assert read.sources == ("deb http://y z main",)


@pytest.mark.parametrize(
    "line", ["-oDPkg::Pre-Invoke=id", "--help", "a; rm -rf /", "ftp://x/a.deb", "/etc/passwd", "$(id)"]
)
def test_nothing_else_reaches_apt(line: str) -> None:
    with pytest.raises(PackError, match="Aptfile line 2"):
        read_aptfile(f"tree\n{line}\n")


def test_what_apt_would_install_is_known_by_the_names_of_its_archives() -> None:
    text = (
        "Reading…\nInst libsodium23 [1.0.18-1] (1.0.18-1+deb12u1 Debian:12/x, Debian-Security:12/y [amd64])\n"
        "Inst php-cli (2:8.2+93 Debian:12.15/oldstable [all])\nConf php-cli (2:8.2+93 Debian [all])\n"
    )
    assert downloaded_files(text) == ("libsodium23_1.0.18-1+deb12u1_amd64.deb", "php-cli_2%3a8.2+93_all.deb")


def test_what_was_set_before_stays_behind_what_apt_brings() -> None:
    lines = profile("x86_64-linux-gnu", "$HOME").splitlines()
    assert lines[0] == 'export PATH="$HOME/.apt/usr/bin:$HOME/.apt/usr/sbin:$HOME/.apt/bin${PATH:+:$PATH}"'
    assert any(line.startswith('export LD_LIBRARY_PATH="$HOME/.apt/usr/lib/x86_64-linux-gnu:') for line in lines)


def test_versions_compare_as_numbers() -> None:
    assert go_version("go version go1.9.7 x") != go_version("go version go1.19.7 x")
    assert go_version("go version devel +abc") is None
    assert go_version("go version go1.21rc2 x") == Version(major=1, minor=21, pre="rc2")
