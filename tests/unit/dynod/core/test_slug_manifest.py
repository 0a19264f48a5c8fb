"""What a slug says of where it was made, and whether that is here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.slug_manifest import (
    Interpreter,
    SlugManifest,
    Stack,
    mismatch,
    read_interpreters,
    read_manifest,
    version_in,
    write_manifest,
)

PYTHON = Interpreter(name="Python", version="3.11.2", path="/usr/bin/python3.11")
NODE = Interpreter(name="Node.js", version="22.3.0", path="/usr/bin/node")
DEBIAN = Stack(os="Debian 12", libc="glibc 2.36", machine="x86_64", interpreters=(PYTHON, NODE))
texts = st.text(max_size=10)


@pytest.mark.parametrize(
    ("here", "found", "why"),
    [
        (DEBIAN, {}, None),
        (Stack(os="Debian 13", libc="glibc 2.41", machine="x86_64"), {}, None),  # newer ones run what was built before
        (DEBIAN, {PYTHON.path: "3.11.9", NODE.path: "22.9.1"}, None),
        (DEBIAN, {PYTHON.path: "3.13.0"}, "v12 was built for Python 3.11.2, this machine has 3.13.0"),
        (DEBIAN, {NODE.path: "24.0.0"}, "v12 was built for Node.js 22.3.0, this machine has 24.0.0"),
        (
            DEBIAN,
            {PYTHON.path: None},
            "v12 was built for Python 3.11.2 (/usr/bin/python3.11), which this machine does not have",
        ),
        (Stack(libc="glibc 2.31", machine="x86_64"), {}, "v12 was built for glibc 2.36, this machine has glibc 2.31"),
        (Stack(libc="musl", machine="x86_64"), {}, "v12 was built for glibc, this machine has musl"),
        (Stack(libc="glibc 2.36", machine="aarch64"), {}, "v12 was built for x86_64, this machine has aarch64"),
        (Stack(), {}, None),  # what is not known speaks against nothing
    ],
)
def test_one_sentence_says_what_has_changed_and_the_way_out(
    here: Stack, found: dict[str, str | None], why: str | None
) -> None:
    versions: dict[str, str | None] = {PYTHON.path: PYTHON.version, NODE.path: NODE.version}
    sentence = mismatch(DEBIAN, here, found={**versions, **found}, what="v12", app="shop")
    assert sentence == (f"{why}: dynod rebuild -a shop" if why is not None else None)


def test_an_interpreter_that_cannot_be_asked_speaks_against_nothing() -> None:
    assert mismatch(DEBIAN, DEBIAN, found={PYTHON.path: PYTHON.version}, what="v12", app="shop") is None


@given(st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=3), texts)
def test_what_is_written_is_read(types: dict[str, str], buildpacks: list[str], version: str) -> None:
    stack = Stack(os="x", interpreters=(Interpreter(name="Ruby", version=version, path="/usr/bin/ruby"),))
    manifest = SlugManifest(stack=stack, buildpacks=tuple(buildpacks), process_types=types, config_vars=types)
    assert read_manifest(write_manifest(manifest)) == manifest


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"stack": 1}', "[" * 100_000, '{"stack": {"os": 1}}'])
def test_what_is_no_manifest_is_none(text: str) -> None:
    assert read_manifest(text) is None


def test_interpreters_are_read_line_by_line() -> None:
    said = "Python 3.11.2 /usr/bin/python3.11\nnonsense\nRuby x /usr/bin/ruby\nNode.js 22.3.0 relative\n"
    assert read_interpreters(said) == [PYTHON]


@pytest.mark.parametrize(
    ("said", "version"),
    [("Python 3.11.2\n", "3.11.2"), ("v22.3.0", "22.3.0"), ("ruby 3.1.2p20 (2022)", "3.1.2"), ("none", None)],
)
def test_a_version_is_found_in_what_is_said(said: str, version: str | None) -> None:
    assert version_in(said) == version
