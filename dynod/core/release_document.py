"""What a buildpack's `bin/release` says: default process types, and what the first deploy adds. Pure.

It comes as YAML, which the shell loads into plain values; here they are judged. Everything else in it is ignored, as on
Heroku. Source: Dev Center "Buildpack API", bin/release; heroku-semantics 9.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dynod.core.fault import quoted
from dynod.core.procfile import parse_procfile
from dynod.errors import DynodError


class ReleaseDocumentError(DynodError):
    """What bin/release printed cannot be used."""

    code = "buildpack"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDocument:
    """`process_types`: type → command. `config_vars` and `addons` are for the first deploy alone."""

    process_types: Mapping[str, str] = field(default_factory=dict)
    config_vars: Mapping[str, str] = field(default_factory=dict)
    addons: tuple[str, ...] = ()


def read_release_document(loaded: object) -> ReleaseDocument:
    """`loaded`: the document as plain values, None for an empty one. Raises ReleaseDocumentError."""
    if loaded is None or loaded is False:
        return ReleaseDocument()
    if not isinstance(loaded, dict):
        raise ReleaseDocumentError("bin/release printed no mapping")
    types = _texts(loaded, "default_process_types")
    for name, command in types.items():
        read = parse_procfile(f"{name}: {command}")
        if read.faults or [each.name for each in read.types] != [name]:
            raise ReleaseDocumentError(f"bin/release: {quoted(name)} is no process type with a command on one line")
    addons = loaded.get("addons") or []
    return ReleaseDocument(
        process_types=types,
        config_vars=_texts(loaded, "config_vars"),
        addons=tuple(each for each in addons if isinstance(each, str)) if isinstance(addons, list) else (),
    )


def merged_types(declared: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The Procfile's process types, then those of the buildpack that it does not name."""
    return {**declared, **{name: command for name, command in defaults.items() if name not in declared}}


def _texts(document: Mapping[object, object], key: str) -> dict[str, str]:
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise ReleaseDocumentError(f"bin/release: {key} is no mapping")
    texts = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise ReleaseDocumentError(f"bin/release: {key} holds what is no text: {quoted(str(name))}")
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts
