"""The folders of dynos that are kept apart by users alone: whose they are, what counts as written, what is left."""

import os
from pathlib import Path

import pytest

from dynod.core.container import Container, User
from dynod.core.own_user import COPIED, folders
from dynod.ownership import give_to
from dynod.process.container import BLOCK, Wanted, remove
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


def test_what_was_copied_is_not_written_and_what_was_changed_is(users: OwnUsers, code: Path) -> None:
    for fd in users.enclose("one", Container(code=str(code), user=USER), WANTED).files:
        os.close(fd)
    home, temporary = map(Path, folders(str(code.parent / "dynos" / "one")))
    old = code.stat().st_mtime_ns - 10**9
    for name in ("shipped", "changed"):
        (home / name).write_text("x" * 10_000)
        os.utime(home / name, ns=(old, old))  # as cp leaves it
    assert users.written("one", 10**9) == 0, "it is not whole yet: nothing can be told"
    (home.parent / COPIED).touch()
    whole = max((home / name).stat().st_ctime_ns for name in ("shipped", "changed")) + 1
    os.utime(home.parent / COPIED, ns=(whole, whole))
    assert users.written("one", 10**9) == 0
    (home / "media").mkdir()
    (home / "media" / "new").write_text("y")
    (home / "changed").write_text("z")
    assert users.written("one", 10**9) == 3 * BLOCK
    (temporary / "beside").write_text("t")
    assert users.written("one", 10**9) == 4 * BLOCK
    assert users.written("one", BLOCK) == 2 * BLOCK, "it is counted until it is too much"
    found = users.discard("one")
    assert (found.files, found.names) == (2, ("changed", "media/new"))


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
