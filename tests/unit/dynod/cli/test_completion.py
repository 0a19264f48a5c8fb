"""What Tab may choose from where no daemon is asked, and how scripts are told."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from dynod.cli.completion import command, completions
from dynod.cli.completion_scripts import SCRIPTS
from dynod.cli.main import VERBS


def words(*before: str, current: str = "") -> list[str]:
    return [item.value for item in completions(list(before), current)]


def test_verbs_are_completed_with_all_of_their_family() -> None:
    assert words(current="ps:") == [verb for verb in VERBS if verb.startswith("ps:")]
    assert words() == list(VERBS)
    assert words(current="nothing") == []
    assert words(current="--v") == ["--version"]


@pytest.mark.parametrize(
    ("before", "current", "expected"),
    [
        (["ps"], "--j", ["--json"]),
        (["logs"], "--so", ["--source", "--socket"]),
        (["logs", "-s"], "", ["app", "heroku"]),
        (["logs", "--source"], "h", ["heroku"]),
        (["auth:create", "--scope"], "d", ["deploy"]),
        (["completion"], "", ["bash", "fish", "zsh"]),
        (["wrong"], "", []),
        (["ps", "--wrong"], "--j", ["--json"]),
        (["rollback"], "--co", ["--code-only"]),
        (["up"], "--on", ["--on-exit"]),
    ],
)
def test_options_and_choices_are_completed(before: list[str], current: str, expected: list[str]) -> None:
    assert words(*before, current=current) == expected


def test_a_path_is_left_to_the_shell() -> None:
    assert [item.type for item in completions(["restore"], "some")] == ["file"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_completed(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNOD_SOCKET", "/nowhere/at-all.sock")
    assert isinstance(words(verb), list)
    assert all(each.startswith("-") for each in words(verb, current="-"))
    assert "--help" in words(verb, current="-")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dynod ps:sc", ["ps:scale"]),
        ("dynod logs --source ", ["app", "heroku"]),
        ("dynod config:set 'A=two words' --no", ["--no-wait"]),
        ("dynod config:set 'A=unfinished", []),
        ("/usr/bin/dynod ps:wa", ["ps:wait"]),
    ],
)
def test_a_line_is_taken_apart_as_a_shell_does(line: str, expected: list[str]) -> None:
    answer = CliRunner().invoke(command, ["bash", "--line", line]).output
    assert [each.split("\t")[:2] for each in answer.splitlines()] == [["plain", value] for value in expected]


def test_another_machine_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNOD_SOCKET", raising=False)
    monkeypatch.setenv("DYNOD_HOST", "ssh://me@vm.example")
    monkeypatch.setenv("DYNOD_SSH", f"{sys.executable} -c raise")
    assert words("ps:stop") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_script_is_printed_as_it_is(shell: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "dynod", "completion", shell], capture_output=True, text=True, check=True
    )
    assert printed.stdout == SCRIPTS[shell]
