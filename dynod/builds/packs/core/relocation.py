"""A virtual environment that works wherever its folder is put: at BUILD_DIR, at /app, in a folder of releases. Pure.

pip writes the environment's own path into the first line of every script, into the path files of editable installs and
into their finders. Heroku makes /app of them; here they are made relative, since a slug also runs outside a container.
"""

import re
from posixpath import basename, relpath
from typing import Final

_SHEBANG: Final = re.compile(rb"#!([^\n]*)\n")
_LONG_SHEBANG: Final = re.compile(rb"#!/bin/sh\n'''exec' ([^\n]*?) \"\$0\" \"\$@\"\n' '''\n")
_PYTHON: Final = re.compile(rb"([\"']?)(/[^\"']*/)(python[0-9.]*)\1")  # pip quotes it by ", uv by '; or not at all


def relocatable_script(content: bytes, *, bin_folder: str) -> bytes | None:
    """A script of `bin_folder` which starts the interpreter that lies beside it; None for what needs no change.

    To sh, the third line is an exec; to Python it is part of a string. pip does the same for paths that are too long.
    """
    match = _LONG_SHEBANG.match(content) or _SHEBANG.match(content)
    if match is None:
        return None
    interpreter = _PYTHON.fullmatch(match[1].strip())
    if interpreter is None or interpreter[2].rstrip(b"/") != bin_folder.encode():
        return None
    start = b'#!/bin/sh\n\'\'\'exec\' "$(dirname -- "$(readlink -f -- "$0")")/' + interpreter[3]
    return start + b'" "$0" "$@"\n\' \'\'\'\n' + content[match.end() :]


def relocatable_path_file(text: str, *, site_packages: str, build_dir: str) -> str:
    """A .pth file whose paths into the app are relative to the folder that it lies in, which `site` allows."""

    def line(written: str) -> str:
        inside = written == build_dir or written.startswith(f"{build_dir}/")
        return relpath(written, site_packages) if inside else written

    return "\n".join(line(each) for each in text.split("\n"))


def relocatable_finder(text: str, *, site_packages: str, build_dir: str) -> str:
    """A finder that setuptools has written for an editable install: its paths begin where the finder itself lies."""
    up = relpath(build_dir, site_packages)
    here = f"__import__('os').path.abspath(__file__ + '/../{up}')"
    return re.sub(
        rf"(['\"]){re.escape(build_dir)}((?:/[^'\"\\]*)?)\1",
        lambda match: f"{here} + {match[2]!r}" if match[2] else here,
        text,
    )


def settled_config(text: str) -> str:
    """pyvenv.cfg without the line that tells how it was made: it names the build's folder and helps nobody."""
    return "".join(line for line in text.splitlines(keepends=True) if line.partition("=")[0].strip() != "command")


def settled_record(text: str) -> str:
    """RECORD without the checksums of the scripts, which are others now, and of bytecode; both may be left open."""

    def line(written: str) -> str:
        path = written.rsplit(",", 2)[0]
        return f"{path},," if path.startswith("../../../bin/") or path.endswith(".pyc") else written

    return "".join(line(each.rstrip("\r\n")) + "\n" for each in text.splitlines())


def activation_script(name: str) -> bool:
    """Whether a file of `bin` is one of those that an interactive shell sources; they hold the path, and go."""
    return basename(name).lower().startswith("activate")
