"""Config vars as text: what a shell reads back, what an edited file reads back, what two releases differ in."""

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.app_folder import parse_dotenv
from dynod.cli.config_text import config_lines, editable, shell_lines, shell_value
from dynod.cli.release_text import diff_lines, status_text

if TYPE_CHECKING:
    from dynod.platform_api.schema import Release

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("bar", "bar"),
        ("", ""),
        ("x y", "'x y'"),
        ("a'b", '"a\'b"'),
        ("two\nlines", '"two\\nlines"'),
        ('say "$HOME"', "'say \"$HOME\"'"),
        ("it's `this` $1", '"it\'s \\`this\\` \\$1"'),
        ("https://a.example/?b=c", "'https://a.example/?b=c'"),
    ],
)
def test_quoting_is_herokus(value: str, written: str) -> None:
    assert shell_value(value) == written


def test_a_shell_reads_back_what_it_can() -> None:
    config = {"A": "x y", "B": "it's $HOME", "C": "`id`; rm -rf", "D": '"', "E": "\\"}
    script = "\n".join(shell_lines(config)) + '\nprintf "%s\\n" "$A" "$B" "$C" "$D" "$E"'
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == list(config.values())


def parse(text: str) -> dict[str, str]:
    read = parse_dotenv(text.replace("\r\n", "\n").replace("\r", "\n"))
    assert not read.faults
    return dict(read.values)


@given(st.dictionaries(names, values, max_size=6))
def test_a_file_to_edit_reads_back_as_it_was(config: dict[str, str]) -> None:
    file = editable("shop", config, parse)
    assert parse(file.text) == {name: value for name, value in config.items() if name not in file.left_out}
    assert not [name for name in file.left_out if config[name].isprintable()]


def test_lines_for_people_are_aligned() -> None:
    assert config_lines({"LONG": "x y", "A": "", "FOO": "bar"}) == ["A:", "FOO:  bar", "LONG: x y"]


def test_differences_name_config_vars_and_show_values_only_when_asked() -> None:
    old, new = {"A": "1", "B": "1", "C": "1"}, {"A": "1", "B": "2", "D": "3"}
    assert diff_lines(old, new, values=False) == ["~ B", "- C", "+ D"]
    assert diff_lines(old, new, values=True) == ["- B=1", "+ B=2", "- C=1", "+ D=3"]
    assert diff_lines(old, old, values=True) == []


@pytest.mark.parametrize(
    ("status", "phase", "text"),
    [
        ("pending", "wanted", "release command executing"),
        ("failed", "wanted", "release command failed"),
        ("pending", "done", "going live"),
        ("failed", "none", "failed"),
        ("expired", "none", "release expired"),
        ("succeeded", "done", ""),
        ("succeeded", "wanted", ""),
    ],
)
def test_status_words(status: str, phase: str, text: str) -> None:
    release: Release = {
        "id": "1",
        "version": 1,
        "description": "",
        "status": status,
        "current": False,
        "created_at": "",
        "addon_plan_names": [],
        "eligible_for_rollback": False,
        "output_stream_url": None,
        "slug": None,
        "user": {"id": "", "email": ""},
        "dynod": {"failure": None, "phase": phase, "process_types": {}},
    }
    assert status_text(release) == text
