"""The folders of dynos that are kept apart by users alone: whose they are, what counts as written, what is left."""

import os
import shutil
from pathlib import Path

import pytest

from dynod.core.container import Container, User
from dynod.core.own_user import COPIED, folders
from dynod.ownership import give_to
from dynod.process.container import BLOCK, Wanted, remove, size_below
from dynod.process.own_users import OwnUsers

USER = User(uid=os.geteuid(), gid=os.getegid())  # whom everybody may give files to
WANTED = Wanted(["true"], {"HOME": "/app", "PATH": "/app/bin:/bin"})


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "shipped").write_text("x" * 10_000)
    return folder


@pytest.fixture
def users(tmp_path: Path) -> OwnUsers:
    root = tmp_path / "dynos"
    root.mkdir()
    return OwnUsers(root)


def test_a_dynos_folder_is_its_users_alone_and_the_code_comes_by_a_descriptor(users: OwnUsers, code: Path) -> None:
    enclosed = users.enclose("one", Container(code=str(code), user=USER), WANTED)
    again = users.enclose("one", Container(code=str(code), user=USER), WANTED)
    for found in (enclosed, again):
        (opened,) = found.files
        assert os.path.samestat(os.fstat(opened), code.stat())
        os.close(opened)
    scratch = code.parent / "dynos" / "one"
    assert {path.stat().st_mode & 0o777 for path in map(Path, folders(str(scratch)))} == {0o700}
    around = scratch.stat()
    assert (around.st_mode & 0o777, around.st_uid, around.st_gid) == (0o710, os.geteuid(), USER.gid), "no links in it"
    assert (enclosed.owner, enclosed.as_owner, enclosed.watches) == ((USER.uid, USER.gid), True, False)
    assert enclosed.env["HOME"] == str(scratch / "app")
    users.discard("one")
    assert list(scratch.parent.iterdir()) == []


def copied(users: OwnUsers, code: Path) -> tuple[Path, Path]:
    """A dyno whose copy is whole: where its code is, and where its temporary files are."""
    for fd in users.enclose("one", Container(code=str(code), user=USER), WANTED).files:
        os.close(fd)
    home, temporary = map(Path, folders(str(code.parent / "dynos" / "one")))
    assert users.written("one", 10**9) == 0, "nothing of it is there yet"
    shutil.copytree(code, home, dirs_exist_ok=True)
    whole = max(each.lstat().st_ctime_ns for each in home.iterdir()) + 1
    os.utime(home.parent / COPIED, ns=(whole, whole))
    return home, temporary


def test_what_was_copied_is_not_written_and_what_was_changed_is(users: OwnUsers, code: Path) -> None:
    (code / "changed").write_text("x" * 10_000)
    old = code.stat().st_mtime_ns - 10**9
    for each in code.iterdir():
        os.utime(each, ns=(old, old))
    home, temporary = copied(users, code)
    assert users.written("one", 10**9) == 0
    (home / "media").mkdir()
    (home / "media" / "new").write_text("y")
    (home / "changed").write_text("z")
    (temporary / "beside").write_text("t" * 20_000)
    # Two blocks of the file that was changed are free, and count for what came in their place.
    assert users.written("one", 10**9) == (2 + 5 - 2) * BLOCK
    assert users.written("one", 2 * BLOCK) > 2 * BLOCK, "it is counted until it is too much"
    (home / "hard").hardlink_to(home / "media" / "new")
    assert users.written("one", 10**9) == (2 + 5 - 2) * BLOCK, "a file of two names is one"
    found = users.discard("one")
    assert (found.files, found.names) == (3, ("changed", "hard", "media/new"))


@pytest.mark.parametrize("whole_ns", [0, 10**18, 4 * 10**18])
def test_no_time_that_a_dyno_sets_hides_what_it_has_written(users: OwnUsers, code: Path, whole_ns: int) -> None:
    """Not of its files, nor of the one by which it says that the copy is whole."""
    home, temporary = copied(users, code)
    for folder in (home, temporary):
        (folder / "old").write_text("x" * 40_000)
        os.utime(folder / "old", ns=(0, 0))
    os.utime(home.parent / COPIED, ns=(whole_ns, whole_ns))
    assert users.written("one", 10**9) == 20 * BLOCK
    assert OwnUsers(home.parent.parent).written("one", 10**9) == 20 * BLOCK, "nor is it forgotten with the core"


def test_a_folder_that_nobody_may_look_into_is_counted_and_removed(tmp_path: Path) -> None:
    """As a dyno has it that runs as dynod's own user, who is not root: that one looks anyway."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    ours = tmp_path / "ours"
    hidden = ours / "dyno" / "deep" / "hidden"
    ours.mkdir()
    ours.chmod(0o777)
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            hidden.mkdir(parents=True)
            (hidden / "file").write_text("x" * 10_000)
            for mode in (0o300, 0):
                for folder in (hidden, hidden.parent):
                    folder.chmod(mode)
                if mode and size_below([ours / "dyno"], 10**9) != (2 + 3) * BLOCK:
                    os._exit(1)
            remove(ours / "dyno")
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not list(ours.iterdir())


def test_a_dyno_needs_a_user(users: OwnUsers, code: Path) -> None:
    with pytest.raises(ValueError, match="without a user"):
        users.enclose("one", Container(code=str(code)), WANTED)


def test_a_link_that_a_dyno_has_laid_changes_no_mode(tmp_path: Path) -> None:
    """dynod may change any folder's, and would shut everybody out of what the link leads to."""
    target, scratch = tmp_path / "of the machine", tmp_path / "scratch"
    target.mkdir()
    target.chmod(0o755)
    (scratch / "work").mkdir(parents=True)
    (scratch / "work" / "work").symlink_to(target)
    remove(scratch)
    assert not scratch.exists()
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_link_is_given_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "link").symlink_to("code")
    other = User(uid=USER.uid + 1, gid=USER.gid + 1)
    with pytest.raises(OSError, match="link"):
        give_to(other, tmp_path / "link")
