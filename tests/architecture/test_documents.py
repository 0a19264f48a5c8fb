"""What the documents must say, compared with the code; and what no file of the project may say."""

import re

import click
import pytest

from dynod import __version__
from dynod.cli.main import VERBS, dynod
from dynod.cli.up import command as up_command
from dynod.errors import ExitStatus
from support.source_tree import PACKAGES, REPOSITORY, modules, written_files

README = (REPOSITORY / "README.md").read_text()
ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text()

# Homes and work folders of whoever wrote a file: such a path works on one machine.
MACHINE_PATHS = re.compile(r"(?<![A-Za-z0-9_.~}>-])/(?:work|root|farm|home/[a-z]+)/")


@pytest.mark.parametrize("verb", VERBS)
def test_readme_has_a_section_for_each_verb(verb: str) -> None:
    assert re.search(rf"^##+ `dynod {re.escape(verb)}`", README, re.MULTILINE)


# What these write is a stream of its own: an app's, the API's, a shell's.
WITHOUT_JSON = frozenset({"up", "serve", "api-stdio", "completion", "ssh-serve"})


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - WITHOUT_JSON))
def test_every_verb_answers_programs(verb: str) -> None:
    command = dynod.get_command(click.Context(dynod), verb)
    assert command is not None
    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize(
    "option", [option for parameter in up_command.params if parameter.name != "types" for option in parameter.opts[:1]]
)
def test_readme_lists_each_option_of_up(option: str) -> None:
    assert re.search(rf"^\| `{re.escape(option)}[ `]", README, re.MULTILINE)


# Of every verb that talks to a daemon: README says so once.
OF_ALL = frozenset({"--help", "--json", "--socket", "--app"})


@pytest.mark.parametrize("verb", VERBS)
def test_readme_has_the_options_of_each_verb_and_no_others(verb: str) -> None:
    command = dynod.get_command(click.Context(dynod), verb)
    assert command is not None
    section = re.search(rf"^##+ `dynod {re.escape(verb)}`\n(.*?)(?=^##)", README, re.MULTILINE | re.DOTALL)
    assert section is not None
    words = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", section[1]))
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    for option in options:
        assert OF_ALL & set(option.opts) or words & {*option.opts, *option.secondary_opts}, option.opts
    usage = re.search(rf"^(    dynod {re.escape(verb)}\b.*\n(?:     .*\n)*)", section[1], re.MULTILINE)
    known = {spelled for option in options for spelled in (*option.opts, *option.secondary_opts)} | OF_ALL
    if usage is not None:
        assert set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", usage[1])) <= known


@pytest.mark.parametrize("status", ExitStatus, ids=str)
def test_readme_explains_each_exit_status(status: ExitStatus) -> None:
    section = README.partition("## Exit statuses")[2].partition("\n## ")[0]
    assert re.search(rf"^\| {status.value} \|", section, re.MULTILINE)


def test_architecture_names_each_package() -> None:
    """Folders of the tree that the reader will meet, whether on a flow or beside it."""
    shells = {m.name.split(".")[1] for m in modules() if m.path.name == "__init__.py" and m.name not in PACKAGES}
    assert not [name for name in sorted(shells) if not re.search(rf"\b{name}\b", ARCHITECTURE)]


def test_changelog_has_this_version_or_unreleased_changes() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[(?:Unreleased|{re.escape(__version__)})\]", changelog, re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_documents_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (REPOSITORY / name).read_text())
    assert not [target for target in targets if not (REPOSITORY / target).exists()]


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
        for path in written_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []
