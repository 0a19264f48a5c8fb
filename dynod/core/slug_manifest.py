"""What a slug was built on and by, as it is kept in the slug, and whether this machine still is that. Pure.

A virtualenv, a compiled gem or addon runs with the interpreter and the C library that it was made with. So a slug says
what those were, and a release is told what has changed in words that name the way out: `dynod rebuild`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FILE: Final = ".slug.json"  # in the slug's folder
LARGEST: Final = 256 * 1024  # bytes
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_PARTS_THAT_COUNT: Final = {"Python": 2, "Ruby": 2, "PHP": 2, "Node.js": 1}  # what extensions are compiled for
WAY_OUT: Final = "dynod rebuild"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What runs the code of an app: `Python`, `3.11.2`, `/usr/bin/python3.11`."""

    name: str
    version: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What a slug was built on. `libc` is its name and version, such as `glibc 2.36`; "" where it is not known."""

    os: str = ""
    libc: str = ""
    machine: str = ""  # of the processor: x86_64
    interpreters: tuple[Interpreter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlugManifest:
    """What is in the slug beside the code. `config_vars` are for the app's first release."""

    stack: Stack = field(default_factory=Stack)
    buildpacks: tuple[str, ...] = ()
    process_types: Mapping[str, str] = field(default_factory=dict)
    config_vars: Mapping[str, str] = field(default_factory=dict)


def write_manifest(manifest: SlugManifest) -> str:
    """As text. The same manifest is the same text."""
    stack = manifest.stack
    document = {
        "stack": {
            "os": stack.os,
            "libc": stack.libc,
            "machine": stack.machine,
            "interpreters": [{"name": i.name, "version": i.version, "path": i.path} for i in stack.interpreters],
        },
        "buildpacks": list(manifest.buildpacks),
        "process_types": dict(manifest.process_types),
        "config_vars": dict(manifest.config_vars),
    }
    return json.dumps(document, indent=1) + "\n"


def read_manifest(text: str) -> SlugManifest | None:
    """None for what is no manifest: whoever deploys may have written the file."""
    try:
        document = json.loads(text)
        stack = document["stack"]
        interpreters = tuple(
            Interpreter(name=_text(each["name"]), version=_text(each["version"]), path=_text(each["path"]))
            for each in stack["interpreters"]
        )
        return SlugManifest(
            stack=Stack(
                os=_text(stack["os"]),
                libc=_text(stack["libc"]),
                machine=_text(stack["machine"]),
                interpreters=interpreters,
            ),
            buildpacks=tuple(_text(each) for each in document["buildpacks"]),
            process_types={_text(key): _text(value) for key, value in document["process_types"].items()},
            config_vars={_text(key): _text(value) for key, value in document["config_vars"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def mismatch(built: Stack, here: Stack, *, found: Mapping[str, str | None], what: str, app: str) -> str | None:
    """Why what was built on one machine will not run on this one, as one sentence; None: nothing speaks against it.

    `found`: the version that each interpreter's path has now, None where there is none, nothing where that is not
    known. `what`: such as `v12`.
    """
    for was, now in ((built.machine, here.machine), (_name(built.libc), _name(here.libc))):
        if was and now and was != now:
            return _sentence(what, was, now, app)
    if built.libc and here.libc and _numbers(built.libc) > _numbers(here.libc):
        return _sentence(what, built.libc, here.libc, app)
    for interpreter in built.interpreters:
        if interpreter.path not in found:
            continue
        version = found[interpreter.path]
        if version is None:
            gone = f"{what} was built for {interpreter.name} {interpreter.version} ({interpreter.path})"
            return f"{gone}, which this machine does not have: {WAY_OUT} -a {app}"
        parts = _PARTS_THAT_COUNT.get(interpreter.name, 2)
        if _numbers(interpreter.version)[:parts] != _numbers(version)[:parts]:
            return _sentence(what, f"{interpreter.name} {interpreter.version}", version, app)
    return None


def read_interpreters(text: str) -> list[Interpreter]:
    """What a buildpack has written of them: `Python 3.11.2 /usr/bin/python3.11` is one, other lines are nothing."""
    found = []
    for line in text.splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and _VERSION.match(words[1]) and words[2].startswith("/"):  # noqa: PLR2004 (as said above)
            found.append(Interpreter(name=words[0], version=words[1], path=words[2]))
    return found


def version_in(said: str) -> str | None:
    """The version in what an interpreter prints: `Python 3.11.2`, `v22.3.0`, `ruby 3.1.2p20 (…)`."""
    match = re.search(r"\d+\.\d+(?:\.\d+)*", said, re.ASCII)
    return match[0] if match is not None else None


def _sentence(what: str, was: str, now: str, app: str) -> str:
    return f"{what} was built for {was}, this machine has {now}: {WAY_OUT} -a {app}"


def _name(libc: str) -> str:
    return libc.partition(" ")[0]


def _numbers(text: str) -> list[int]:
    match = re.search(_VERSION, text)
    return [int(part) for part in match[0].split(".")] if match is not None else []


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
