"""What pip wrote for one folder works in any."""

import pytest

from dynod.builds.packs.core.relocation import (
    relocatable_finder,
    relocatable_path_file,
    relocatable_script,
    settled_config,
    settled_record,
)

BIN = "/tmp/build_1/.heroku/python/bin"
SITE = "/tmp/build_1/.heroku/python/lib/python3.11/site-packages"
START = b"""#!/bin/sh\n'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python3" "$0" "$@"\n' '''\n"""


@pytest.mark.parametrize(
    "head",
    [
        f"#!{BIN}/python3\n",
        f'#!"{BIN}/python3"\n',
        f"""#!/bin/sh\n'''exec' {BIN}/python3 "$0" "$@"\n' '''\n""",
        f"""#!/bin/sh\n'''exec' "{BIN}/python3" "$0" "$@"\n' '''\n""",
        f"""#!/bin/sh\n'''exec' '{BIN}/python3' "$0" "$@"\n' '''\n""",
    ],
)
def test_a_script_starts_the_interpreter_beside_it(head: str) -> None:
    body = b"import sys\nsys.exit(3)\n"
    assert relocatable_script(head.encode() + body, bin_folder=BIN) == START + body


@pytest.mark.parametrize(
    "content",
    ["#!/bin/sh\nexit 1\n", "#!/usr/bin/env python3\n", "#!/usr/bin/python3\n", "\x7fELF", "", f"#!{BIN}/node\n"],
)
def test_what_starts_anything_else_is_left_alone(content: str) -> None:
    assert relocatable_script(content.encode(), bin_folder=BIN) is None


def test_paths_into_the_app_are_relative_to_the_path_file() -> None:
    text = "/tmp/build_1/src\n/tmp/build_1\n/tmp/build_10/x\nimport something\n"
    changed = relocatable_path_file(text, site_packages=SITE, build_dir="/tmp/build_1")
    assert changed == "../../../../../src\n../../../../..\n/tmp/build_10/x\nimport something\n"


def test_a_finder_begins_where_it_lies() -> None:
    text = "MAPPING = {'app': '/tmp/build_1/src/app', 'other': '/tmp/build_10/x'}\n"
    changed = relocatable_finder(text, site_packages=SITE, build_dir="/tmp/build_1")
    found: dict[str, dict[str, str]] = {}
    exec(changed, {"__file__": SITE.replace("/tmp/build_1", "/app") + "/__editable___app_finder.py"}, found)
    assert found["MAPPING"] == {"app": "/app/src/app", "other": "/tmp/build_10/x"}


def test_the_configuration_names_no_build() -> None:
    text = f"home = /usr/bin\nversion = 3.11.2\ncommand = /usr/bin/python3 -m venv {BIN[:-4]}\n"
    assert settled_config(text) == "home = /usr/bin\nversion = 3.11.2\n"


def test_a_record_vouches_for_no_script_that_was_changed() -> None:
    text = "../../../bin/greet,sha256=abc,200\r\ngreeting.py,sha256=def,10\r\ngreeting-1.0.dist-info/RECORD,,\r\n"
    assert settled_record(text) == "../../../bin/greet,,\ngreeting.py,sha256=def,10\ngreeting-1.0.dist-info/RECORD,,\n"
