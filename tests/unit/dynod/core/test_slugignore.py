"""What `.slugignore` leaves out, beside what git says of the same lines."""

import subprocess
from pathlib import Path

import pytest

from dynod.core.slugignore import parse_slugignore

PATHS = (
    *(
        "doc/a.md",
        "doc/b/c.md",
        "a.md",
        "sub/doc/x",
        "x.psd",
        "deep/er/y.psd",
        "log",
        "log/z",
        "logs/z",
        "spec/q_spec.rb",
    ),
    *("a b", "[x]", "x1", "xa", "foo/bar/baz", "foo/baz", "baz/foo", "#note", "!bang", "trailing ", "sp", "q/sp/r"),
)
LINES = (
    *(
        "*.psd",
        "/doc",
        "doc/",
        "doc/*.md",
        "/a.md",
        "log",
        "log/",
        "lo?",
        "**/x",
        "deep/**",
        "foo/**/baz",
        "sp",
        "q/sp",
    ),
    *("# comment", "", "\\#note", "x[0-9]", "x[!0-9]", "\\[x]", "a b", "trailing\\ ", "a.md   ", "*", "/*", "*/", "**"),
    *("foo/*", "b*z", "**/foo/baz", "[", "x[", "/", "//", "spec/*_spec.rb"),
)


def ignored(line: str, paths: tuple[str, ...]) -> set[str]:
    """As the runner walks: from the top down, and not into what is left out."""
    rules = parse_slugignore(line)
    found = set()
    for path in paths:
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        if any(rules.ignores(folder, is_folder=True) for folder in above) or rules.ignores(path, is_folder=False):
            found.add(path)
    return found


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_git(line: str, tmp_path: Path) -> None:
    paths = tuple(path for path in PATHS if path != "log")  # a name is a file or a folder
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(f"{line}\n")
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    answer = subprocess.run(
        ["git", "-C", str(tmp_path), "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin"],
        input="\0".join(paths).encode(),
        capture_output=True,
        check=False,
    )
    assert ignored(line, paths) == {name.decode() for name in answer.stdout.split(b"\0") if name}


def test_nothing_can_be_taken_back() -> None:
    read = parse_slugignore("*.txt\n!keep.txt\n")
    assert read.ignores("keep.txt", is_folder=False)
    assert [str(fault) for fault in read.faults] == [
        '.slugignore line 2: "!keep.txt" is left out: nothing can be taken back here, as on Heroku'
    ]


def test_only_so_many_lines_count() -> None:
    read = parse_slugignore("x\n" * 10_001)
    assert (len(read.rules), len(read.faults)) == (10_000, 1)
