"""Which buildpack fits which app, in Heroku's order."""

import pytest

from dynod.builds.packs.__main__ import MODULES
from dynod.builds.packs.core.catalogue import (
    ALIASES,
    DETECTION_ORDER,
    PACKS,
    find_pack,
    fits,
    not_built,
    release_yaml,
    shown_name,
)


def detected(files: dict[str, str]) -> str | None:
    return next((p.name for p in DETECTION_ORDER if fits(p, set(files), files.get)), None)


@pytest.mark.parametrize(
    ("names", "pack"),
    [
        ("requirements.txt", "heroku/python"),
        ("Pipfile Procfile", "heroku/python"),
        ("poetry.lock pyproject.toml", "heroku/python"),
        ("uv.lock", "heroku/python"),
        ("setup.py", "heroku/python"),
        ("package.json", "heroku/nodejs"),
        ("package.json requirements.txt", "heroku/nodejs"),
        ("Gemfile package.json", "heroku/ruby"),
        ("go.mod", "heroku/go"),
        ("composer.json package.json", "heroku/nodejs"),
        ("composer.json", "heroku/php"),
        ("index.php index.html", "heroku/php"),
        ("index.html", "heroku-community/static"),
        ("static.json public_html/index.html", "heroku-community/static"),
        ("index.html Procfile", "heroku-community/static"),
        ("Procfile bin/server", "heroku/procfile"),
        ("pom.xml", "heroku/java"),
        ("build.gradle.kts", "heroku/gradle"),
        ("build.sbt", "heroku/scala"),
        ("project/Build.scala", "heroku/scala"),
        ("src/Build.scala", None),
        ("project.clj", "heroku/clojure"),
        ("application.properties grails-app/conf", "heroku/grails"),
        ("application.properties", None),
        ("conf/application.conf", "heroku/play"),
        ("docs/index.html", None),
        ("Aptfile", None),
        ("README.md", None),
        ("", None),
    ],
)
def test_the_first_that_fits_is_taken(names: str, pack: str | None) -> None:
    assert detected(dict.fromkeys(names.split(), "")) == pack


@pytest.mark.parametrize(
    ("text", "is_python"),
    [
        ('[project]\nname = "a"', True),
        ("[tool.poetry]\nname = 'a'", True),
        ("[tool.ruff]\nline-length = 120", False),
        ("no toml [", False),
    ],
)
def test_a_pyproject_that_only_sets_a_linter_up_makes_no_python_app(text: str, *, is_python: bool) -> None:
    assert (detected({"pyproject.toml": text}) == "heroku/python") is is_python


def test_rails_and_rack_have_names_of_their_own() -> None:
    ruby = PACKS["heroku/ruby"]
    for gem, name in (("rails", "Ruby/Rails"), ("rack", "Ruby/Rack"), ("sinatra-thing", "Ruby")):
        lock = {"Gemfile.lock": f"GEM\n  specs:\n    {gem} (1.0)\n      rails (> 1)\n"}
        assert shown_name(ruby, set(lock), lock.get) == name


def test_every_name_leads_to_a_pack_and_every_pack_to_its_program_or_to_what_to_do_instead() -> None:
    assert {find_pack(name) for name in ALIASES} <= set(PACKS.values())
    assert set(MODULES) == {pack.name for pack in PACKS.values() if pack.built}
    for pack in PACKS.values():
        if not pack.built:
            assert "buildpacks:set https://github.com/heroku/heroku-buildpack-" in not_built(pack)
            assert "apt-get install" in not_built(pack)
    assert find_pack("heroku/cobol") is None


def test_process_types_are_yaml_whatever_is_in_them() -> None:
    assert release_yaml({}) == "--- {}\n"
    text = release_yaml({"web": 'sh -c "echo: #x"'})
    assert text == '---\ndefault_process_types:\n  web: "sh -c \\"echo: #x\\""\n'
