"""Which built-in buildpacks there are, in the order in which Heroku looks for one that fits, and what fits. Pure.

The build runner reads `DETECTION_ORDER` and `ALIASES`. Of several that fit, the first is taken, as on Heroku: a Django
project with a package.json at its top is a Node.js app, until somebody sets both buildpacks.
"""

import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

Read = Callable[[str], str | None]
"""The text of a file of the app by its path, None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A buildpack: its name, what a build calls the app ("Python app detected"), and the names that make it fit."""

    name: str
    shown: str
    files: tuple[str, ...]
    built: bool = True


PYTHON: Final = Pack(
    name="heroku/python",
    shown="Python",
    files=("requirements.txt", "Pipfile", "Pipfile.lock", "poetry.lock", "uv.lock", "setup.py"),
)
NODEJS: Final = Pack(name="heroku/nodejs", shown="Node.js", files=("package.json",))
GO: Final = Pack(name="heroku/go", shown="Go", files=("go.mod",))
RUBY: Final = Pack(name="heroku/ruby", shown="Ruby", files=("Gemfile",))
PHP: Final = Pack(name="heroku/php", shown="PHP", files=("composer.json", "index.php"))
STATIC: Final = Pack(name="heroku-community/static", shown="Static HTML", files=("static.json", "index.html"))
APT: Final = Pack(name="heroku-community/apt", shown="Apt", files=("Aptfile",))
PROCFILE: Final = Pack(name="heroku/procfile", shown="Procfile", files=("Procfile",))
JAVA: Final = Pack(
    name="heroku/java",
    shown="Java",
    files=("pom.xml", "pom.atom", "pom.clj", "pom.groovy", "pom.rb", "pom.scala", "pom.yaml", "pom.yml"),
    built=False,
)
GRADLE: Final = Pack(
    name="heroku/gradle", shown="Gradle", files=("gradlew", "build.gradle", "build.gradle.kts"), built=False
)
SCALA: Final = Pack(name="heroku/scala", shown="Scala", files=("*.sbt", "project/*.scala", ".sbt/*.scala"), built=False)
CLOJURE: Final = Pack(name="heroku/clojure", shown="Clojure", files=("project.clj",), built=False)
GRAILS: Final = Pack(name="heroku/grails", shown="Grails", files=("application.properties",), built=False)
PLAY: Final = Pack(name="heroku/play", shown="Play!", files=("conf/application.conf",), built=False)

DETECTION_ORDER: Final = (
    *(RUBY, NODEJS, CLOJURE, PYTHON, JAVA, GRADLE, GRAILS, SCALA, PLAY, PHP, GO),  # Heroku's own, in its order
    *(STATIC, PROCFILE),
)
BEFORE_THE_DETECTED: Final = (APT,)
"""Those that an app which has set no buildpacks gets besides the one that was detected, and before it."""
PACKS: Final[Mapping[str, Pack]] = {pack.name: pack for pack in (*BEFORE_THE_DETECTED, *DETECTION_ORDER)}
ALIASES: Final[Mapping[str, str]] = {
    "python": PYTHON.name,
    "nodejs": NODEJS.name,
    "node": NODEJS.name,
    "go": GO.name,
    "ruby": RUBY.name,
    "php": PHP.name,
    "static": STATIC.name,
    "heroku/static": STATIC.name,
    "apt": APT.name,
    "heroku/apt": APT.name,
    "procfile": PROCFILE.name,
    "heroku/jvm": JAVA.name,
}


def find_pack(name: str) -> Pack | None:
    """By its name or one of the short ones: `python`, `static`."""
    return PACKS.get(ALIASES.get(name, name))


def fits(pack: Pack, names: Collection[str], read: Read) -> bool:
    """Whether a buildpack is for an app with these files: paths of the top folder, and of the folders in it."""
    if pack is PYTHON and "pyproject.toml" in names and _declares_project(read("pyproject.toml") or ""):
        return True
    if pack is GRAILS:
        return "application.properties" in names and any(name.startswith("grails-app/") for name in names)
    pairs = ((wanted, name) for wanted in pack.files for name in names if name.count("/") == wanted.count("/"))
    return any(fnmatchcase(name, wanted) for wanted, name in pairs)


def shown_name(pack: Pack, names: Collection[str], read: Read) -> str:
    """What a build calls the app: of Ruby's, Rails and Rack have names of their own, as on Heroku."""
    if pack is RUBY:
        lock = read("Gemfile.lock") or ""
        gems = {line.split()[0] for line in lock.splitlines() if line.startswith("    ") and line[4:5] != " "}
        return "Ruby/Rails" if "rails" in gems or "railties" in gems else "Ruby/Rack" if "rack" in gems else pack.shown
    if pack is PHP and "composer.json" not in names:
        return "PHP (classic)"
    return pack.shown


def not_built(pack: Pack) -> str:
    """What to do about an app in a language that is recognised and not built yet."""
    repository = f"https://github.com/heroku/heroku-buildpack-{pack.name.partition('/')[2]}"
    return (
        f"{pack.shown} apps are recognised, but dynod does not build them yet. There are two ways on:\n"
        f"set Heroku's buildpack for it:  dynod buildpacks:set {repository}\n"
        "or deploy what your own build made, and a Procfile that starts it:  dynod buildpacks:set heroku/procfile\n"
        f"(the second needs the runtime on this machine; on Debian: apt-get install {_runtime(pack)})"
    )


def _runtime(pack: Pack) -> str:
    return "default-jre-headless leiningen" if pack is CLOJURE else "default-jre-headless"


def _declares_project(text: str) -> bool:
    """A pyproject.toml that is more than the settings of a linter."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    tool = tables.get("tool")
    return "project" in tables or (isinstance(tool, dict) and "poetry" in tool)


def release_yaml(process_types: Mapping[str, str]) -> str:
    """What `release` prints. JSON's strings are YAML's too (YAML 1.2, 1.3)."""
    if not process_types:
        return "--- {}\n"
    lines = [f"  {name}: {json.dumps(command, ensure_ascii=False)}" for name, command in process_types.items()]
    return "\n".join(["---", "default_process_types:", *lines]) + "\n"
