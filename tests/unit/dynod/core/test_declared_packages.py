"""Which packages manifests declare, and which imports are those of nobody."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.declared_packages import (
    Imported,
    canonical,
    imports_of_node,
    imports_of_python,
    is_declared,
    node_package,
    of_package_json,
    of_pipfile_lock,
    of_requirements,
    of_toml,
    required_by,
    with_what_they_bring,
)

REQUIREMENTS = """\
# what it needs
Django==5.2.19   # pinned
psycopg[binary,pool]>=3.1 ; python_version > "3.8"
Flask_Login ~= 0.6 \\
    --hash=sha256:abc
whitenoise @ https://example.org/whitenoise-6.zip
git+https://example.org/own.git#egg=Own.Package
-r more.txt
--index-url https://example.org/simple
"""


def test_a_requirements_file_is_read_as_pip_reads_it() -> None:
    declared, included = of_requirements(REQUIREMENTS)
    assert declared.names == {"django", "psycopg", "flask-login", "whitenoise", "own-package"}
    assert (declared.whole, included) == (True, ("more.txt",))


@pytest.mark.parametrize("line", ["-e .", "./wheels/own.whl", "https://example.org/own.tgz"])
def test_what_may_hold_anything_makes_the_list_open(line: str) -> None:
    assert not of_requirements(line)[0].whole


TOMLS = [
    ('[project]\ndependencies = ["Flask>=3", "a.b"]\n[dependency-groups]\ndev = ["c"]', {"flask", "a-b", "c"}),
    ('[tool.poetry.dependencies]\npython = "^3.11"\nFlask = "*"', {"python", "flask"}),
    ('[tool.poetry.group.dev.dependencies]\npytest = "*"', {"pytest"}),
    ('[packages]\nflask = "*"\n[dev-packages]\nruff = "*"', {"flask", "ruff"}),
    ('[[package]]\nname = "anyio"\nversion = "4"\n[[package]]\nname = "Flask"', {"anyio", "flask"}),
    ('[[packages]]\nname = "click"', {"click"}),
]


@pytest.mark.parametrize(("text", "names"), TOMLS)
def test_tables_of_each_tool_are_read(text: str, names: set[str]) -> None:
    assert of_toml(text).names == names


def test_a_file_that_cannot_be_read_declares_perhaps_more() -> None:
    assert not of_toml("[project").whole
    assert not of_pipfile_lock("{").whole
    assert of_pipfile_lock('{"default": {"Flask": {}}, "develop": {"ruff": {}}}').names == {"flask", "ruff"}


CODE = """\
import os, flask.views
from yaml import safe_load
from . import own
from .near import far
try:
    import ujson
except ImportError:
    ujson = None
try:
    import needed
except ValueError:
    pass
if TYPE_CHECKING:
    import types_alone
else:
    import other
with suppress(ImportError):
    import optional
def later():
    import lazily
class Held:
    import held
"""


def test_what_a_module_needs_to_be_imported_is_what_counts() -> None:
    assert imports_of_python(CODE) == [
        Imported("os", 1),
        Imported("flask", 1),
        Imported("yaml", 2),
        Imported("needed", 10),
        Imported("other", 16),
        Imported("held", 22),
    ]
    assert imports_of_python("print 'of another Python'") == []


@given(st.text())
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    imports_of_python(text)
    imports_of_node(text)
    of_requirements(text)
    of_toml(text)


DECLARED = frozenset({"django-environ", "pyyaml", "flask-login", "pillow", "requests"})


@pytest.mark.parametrize("name", ["environ", "yaml", "flask_login", "PIL", "requests"])
def test_a_package_is_believed_to_provide_what_it_may(name: str) -> None:
    assert is_declared(name, DECLARED, {})


def test_what_is_installed_says_who_provides_an_import() -> None:
    assert not is_declared("numpy", DECLARED, {})
    assert not is_declared("environ", frozenset({"django-environ"}), {"environ": {"environ-config"}})
    assert is_declared("odd", frozenset({"strange"}), {"odd": {"strange"}})
    assert with_what_they_bring(["flask"], {"flask": ["werkzeug"], "werkzeug": ["markupsafe", "flask"]}) == {
        *("flask", "werkzeug", "markupsafe")
    }
    assert required_by("MarkupSafe[x] (>=2.1); extra == 'a'") == "markupsafe"
    assert canonical("A__b.-C") == "a-b-c"


NODE = """\
import express from "express";
import { a,
  b } from '@scope/name/deep';
import './near.js';
export * from "yargs";
const x = require('pg'), y = require("./far");
// import nothing from "nobody"
/* require("nothing") */
import fs from "node:fs";
import "side-effect";
const url = "http://a.example/import from 'x'";
"""


def test_packages_that_javascript_names() -> None:
    assert imports_of_node(NODE) == [
        Imported("express", 1),
        Imported("@scope/name", 3),
        Imported("yargs", 5),
        Imported("pg", 6),
        Imported("side-effect", 10),
    ]
    assert [node_package(name) for name in ("#a", "@/a", "~/a", "/a", "https://a/b.js", "lodash/fp")] == [
        *(None, None, None, None, None),
        "lodash",
    ]


def test_package_json_declares_by_every_kind_of_dependency() -> None:
    text = json.dumps({"name": "me", "dependencies": {"a": "1"}, "devDependencies": {"b": "1"}})
    manifest = of_package_json(text)
    assert manifest is not None
    assert (manifest.name, manifest.declared, manifest.has_dependencies) == ("me", frozenset({"a", "b"}), True)
    assert of_package_json("[]") is None
