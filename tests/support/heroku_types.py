"""Heroku's published schema, as the types that its command line ships (`@heroku-cli/schema`), to hold answers against.

    types = HerokuTypes.load()
    assert types.faults(document, "Dyno") == []

It is TypeScript made from the JSON schema: interfaces of members that are all optional. The little of the language that
is used there is read here; what is not understood is an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from support import installed

PATH: Final = "node_modules/@heroku-cli/schema/lib/index.d.ts"
TOKEN: Final = re.compile(r"\s+|/\*.*?\*/|//[^\n]*|(?P<token>'[^']*'|[A-Za-z_$][\w$]*|[{}\[\]()|:?;=,])", re.DOTALL)
PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "any": (object,),
    "null": (type(None),),
}


@dataclass(slots=True)
class Members:
    """An object's."""

    of: dict[str, "Type"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Array:
    """A list of one type."""

    of: "Type"


Type = str | Members | Array | tuple["Type", ...]  # a name or a literal in quotes; members; an array; a union


class HerokuTypes:
    """Every interface of the file, by name."""

    def __init__(self, text: str) -> None:
        self._tokens = [match["token"] for match in TOKEN.finditer(text) if match["token"] is not None]
        self._at = 0
        self.of: dict[str, Type] = {}
        while self._at < len(self._tokens):
            self._expect("export")
            kind = self._next()
            name = self._next()
            if kind == "type":
                self._expect("=")
            self.of[name] = self._type()

    @classmethod
    def load(cls) -> Self:
        """From the installed package."""
        return cls((installed.node_folder("tests/toys/heroku") / PATH).read_text())

    def faults(self, document: object, type_: Type, path: str = "") -> list[str]:
        """Where a document is not of the type, and which members it lacks."""
        if isinstance(type_, tuple):
            tried = [self.faults(document, each, path) for each in type_]
            return [] if [] in tried else min(tried, key=len)
        if isinstance(type_, Array):
            if not isinstance(document, list):
                return [f"{path}: no list"]
            return [fault for at, each in enumerate(document) for fault in self.faults(each, type_.of, f"{path}[{at}]")]
        if isinstance(type_, Members):
            if not isinstance(document, dict):
                return [f"{path}: no object: {document!r}"]
            found = [f"{path}.{name}: missing" for name in type_.of if name not in document]
            for name, of in type_.of.items():
                if name in document:
                    found += self.faults(document[name], of, f"{path}.{name}")
            return found
        if type_.startswith("'"):
            return [] if document == type_.strip("'") else [f"{path}: {document!r} is not {type_}"]
        if type_ in PLAIN:
            wrong = not isinstance(document, PLAIN[type_]) or (type_ == "number" and isinstance(document, bool))
            return [f"{path}: {document!r} is no {type_}"] if wrong else []
        return self.faults(document, self.of[type_], path)

    # --- reading --------------------------------------------------------------------------------------------------

    def _type(self) -> Type:
        self._skip("|")
        found = [self._array()]
        while self._skip("|"):
            found.append(self._array())
        return found[0] if len(found) == 1 else tuple(found)

    def _array(self) -> Type:
        token = self._next()
        found: Type = token
        if token == "{":
            found = self._members()
        elif token == "(":
            found = self._type()
            self._expect(")")
        while self._tokens[self._at : self._at + 2] == ["[", "]"]:
            self._at += 2
            found = Array(found)
        return found

    def _members(self) -> Members:
        members = Members()
        while not self._skip("}"):
            name = self._next()
            if name == "[":  # [k: string]: any
                while self._next() != "]":
                    pass
                self._expect(":")
                self._type()
            else:
                self._skip("?")
                self._expect(":")
                members.of[name.strip("'")] = self._type()
            self._skip(";")
        return members

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip(self, token: str) -> bool:
        found = self._tokens[self._at : self._at + 1] == [token]
        self._at += found
        return found

    def _expect(self, token: str) -> None:
        found = self._next()
        assert found == token, f"{found!r} instead of {token!r} at {' '.join(self._tokens[self._at - 9 : self._at])}"
