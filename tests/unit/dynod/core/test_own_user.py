"""What a dyno without a container does first: the words, and what a shell makes of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynod.core.container import FIRST_FILE, Bind, Container, User
from dynod.core.own_user import enter_command, first_command, folders, own_paths, shown_folders

USER = User(uid=4711, gid=4711)


def test_paths_of_a_container_become_the_dynos_own() -> None:
    inside = {
        "HOME": "/app",
        "PATH": "/app/.venv/bin:/usr/bin:/application:/app",
        "DATA": "/app/data",
        "TMPDIR": "/mine",
    }
    assert own_paths(inside, scratch="/s/i") == {
        "HOME": "/s/i/app",
        "PATH": "/s/i/app/.venv/bin:/usr/bin:/application:/s/i/app",
        "DATA": "/app/data",  # the app's own word is not changed
        "TMPDIR": "/mine",
    }
    assert own_paths({}, scratch="/s/i") == {"TMPDIR": "/s/i/tmp"}


def test_only_what_lies_below_the_code_is_shown() -> None:
    binds = tuple(Bind(source=f"/s{at}", target=at, writable=True) for at in ("/app/up", "/data", "/app/a/b", "/apple"))
    found = shown_folders(Container(code="/code", user=USER, binds=binds), home="/h")
    assert found == [("/s/app/up", "/h/up"), ("/s/app/a/b", "/h/a/b")]


@pytest.mark.skipif(sys.platform != "linux", reason="its code comes by /proc/self/fd")
def test_the_copy_is_whole_storage_is_in_it_and_the_command_is_what_runs(tmp_path: Path) -> None:
    """As whoever runs this test; every name has what shells make trouble of."""
    code, lasting = tmp_path / "the code", tmp_path / "lasting $HOME"
    (code / "media" / "up").mkdir(parents=True)
    (code / "media" / "up" / "shipped").touch()
    (code / "--").write_text("odd\n")
    (code / "link").symlink_to("--")
    lasting.mkdir()
    home, temporary = map(Path, folders(str(tmp_path)))
    home.mkdir()
    temporary.mkdir()
    binds = (Bind(source=str(lasting), target="/app/media/up"), Bind(source=str(lasting), target="/app/new/$x/y z"))
    words = ["sh", "-c", 'pwd; ls; cat link; echo "$1" >media/up/a; test -e /dev/fd/3 || exit 5', "sh", "a 'b'"]
    command = first_command(words, Container(code=str(code), user=USER, binds=binds), home=str(home))
    opened = os.open(code, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ended = subprocess.run(
            ["sh", "-c", f'exec {FIRST_FILE}<"$0" "$@"', f"/proc/self/fd/{opened}", *command],
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            pass_fds=[opened],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(opened)
    assert ended.returncode == 5, ended.stderr
    assert ended.stdout.splitlines() == [str(home), "--", "link", "media", "new", "odd"]
    assert (lasting / "a").read_text() == "a 'b'\n"
    assert (home / "new" / "$x" / "y z" / "a").exists()
    assert (home / "link").is_symlink()
    assert (code / "media" / "up" / "shipped").exists()


def test_a_copy_that_fails_ends_the_dyno(tmp_path: Path) -> None:
    home = tmp_path / "app"
    home.mkdir()
    command = first_command(["echo", "runs"], Container(code="/none", user=USER), home=str(home))
    ended = subprocess.run(
        command, env={"HOME": str(home), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "cp: " in ended.stderr


def test_who_enters_is_in_the_dynos_folder(tmp_path: Path) -> None:
    ended = subprocess.run(
        enter_command(["sh", "-c", 'pwd; echo "$1"', "sh", "a b"]),
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"{tmp_path}\na b\n"
