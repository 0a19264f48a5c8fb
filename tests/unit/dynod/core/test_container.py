"""The words by which bubblewrap makes a container, and what the command in it is given."""

import pytest

from dynod.core.container import (
    Bind,
    Container,
    Files,
    Machine,
    User,
    bwrap_arguments,
    enter_command,
    group_file,
    inner_command,
    inside_path,
    outer_command,
    passwd_file,
    split_environment,
)

MACHINE = Machine(
    links={"/bin": "usr/bin"}, folders=["/usr", "/etc"], visible=["/run/postgresql"], hidden=["/etc/dynod"]
)
FILES = Files(passwd=4, group=5, filter=6)
USER = User(uid=1_900_000_007, gid=1_900_000_007)


def words(container: Container, *, machine: Machine = MACHINE, files: Files = FILES, mapped: bool = True) -> str:
    """On one line, with blanks at its ends."""
    made = bwrap_arguments(container, scratch="/s/i", machine=machine, files=files, mapped=mapped)
    return f" {' '.join(made)} "


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (Container(code="/c"), "--overlay-src /c --overlay /s/i/upper /s/i/work /app"),
        (Container(code="/c", user=USER), "--overlay-src /s/i/code --overlay /s/i/upper /s/i/work /app"),
        (Container(code=""), "--bind /s/i/upper /app"),
        (Container(code="/c", binds=(Bind(source="/b", target="/app", writable=True),)), "--bind /b /app"),
        (Container(code="/c", binds=(Bind(source="/k", target="/cache"),)), "--ro-bind /k /cache"),
        (Container(code="/srv/shop"), "--symlink /app /srv/shop"),
        (Container(code="/c"), "--bind /s/i/tmp /tmp"),
        (
            Container(code="/c"),
            "--unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --unshare-user --cap-drop ALL",
        ),
        (Container(code="/c", user=USER), "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID"),
        (Container(code="/c"), "--ro-bind /usr /usr --ro-bind /etc /etc"),
        (Container(code="/c"), "--symlink usr/bin /bin"),
        (Container(code="/c"), "--ro-bind-try /run/postgresql /run/postgresql"),
        (Container(code="/c"), "--tmpfs /etc/dynod"),
        (Container(code="/c"), "--perms 1777 --size 1073741824 --tmpfs /dev/shm"),
        (Container(code="/c"), "--perms 0644 --ro-bind-data 4 /etc/passwd --perms 0644 --ro-bind-data 5 /etc/group"),
        (Container(code="/c"), "--seccomp 6 --chdir /app"),
        (Container(code="/data/me/shop"), "--perms 0755 --dir /data --perms 0755 --dir /data/me"),
    ],
)
def test_what_a_container_is_made_of(container: Container, expected: str) -> None:
    assert f" {expected} " in words(container)


def test_as_another_user_unmapped_code_is_shown_as_it_is() -> None:
    assert " --overlay-src /c --overlay " in words(Container(code="/c", user=USER), mapped=False)


@pytest.mark.parametrize("code", ["/usr/share/shop", "/run/postgresql", "/app"])
def test_code_that_is_seen_anyway_gets_no_second_name(code: str) -> None:
    assert f" --symlink /app {code} " not in words(Container(code=code))


def test_without_a_filter_there_is_none() -> None:
    assert "--seccomp" not in words(Container(code="/c"), files=Files(passwd=4, group=5, filter=None))


def test_what_is_hidden_lies_over_what_is_shown_and_the_app_over_both() -> None:
    line = words(Container(code="/c"))
    assert line.index("--ro-bind /etc /etc") < line.index("--tmpfs /etc/dynod") < line.index(" /app ")


def test_the_command_runs_in_a_session_of_its_own_as_its_user() -> None:
    assert inner_command(["web"], user=None, terminal=False, held={}) == ["/usr/bin/setsid", "--", "web"]
    on_terminal = inner_command(["bash", "-l"], user=USER, terminal=True, held={"LD_PRELOAD": "/app/x.so"})
    assert " ".join(on_terminal) == (
        "/usr/bin/setsid --ctty -- /usr/bin/setpriv --reuid=1900000007 --regid=1900000007 --clear-groups "
        "--inh-caps=-all --bounding-set=-all --no-new-privs -- /usr/bin/env LD_PRELOAD=/app/x.so bash -l"
    )
    assert outer_command("/b/bwrap", ["x", "y"]) == ["/b/bwrap", "--args", "3", "--", "x", "y"]


def test_users_of_a_namespace_need_no_right_outside_of_it() -> None:
    files = Files(passwd=4, group=5, filter=6, namespace=7)
    made = words(Container(code="/c", user=USER), files=files, mapped=False)
    assert " --userns 7 --cap-drop ALL --cap-add CAP_SETUID " in made
    assert " --overlay-src /c --overlay " in made
    assert "--unshare-user" not in made
    assert "--userns" not in words(Container(code="/c", user=USER))


def test_whoever_enters_is_put_beside_the_dyno() -> None:
    line = " ".join(enter_command(["enter"], 42, ["sh"], filtered=True, user=USER, terminal=False, held={}))
    assert line.startswith("enter 42 3 - self /usr/bin/setsid -- /usr/bin/setpriv")
    assert line.endswith(" -- /usr/bin/env --chdir=/app sh")
    for user, by_namespace, who in ((None, False, "self"), (None, True, "self"), (USER, True, "root")):
        words = enter_command(
            ["enter"], 42, ["sh"], filtered=False, user=user, terminal=False, held={}, by_namespace=by_namespace
        )
        assert words[:5] == ["enter", "42", "-", "-", who]


def test_variables_that_say_whose_code_runs_come_last() -> None:
    given = {"LD_PRELOAD": "a", "LD_LIBRARY_PATH": "b", "TMPDIR": "c", "PATH": "d", "GLIBC_TUNABLES": "e", "LDX": "f"}
    first, held = split_environment(given)
    assert first == {"PATH": "d", "LDX": "f"}
    assert first | held == given


def test_the_apps_user_has_a_name_and_a_home() -> None:
    root = "root:x:0:0::/root:/bin/sh"
    assert passwd_file(root, USER).splitlines() == [root, "dyno:x:1900000007:1900000007::/app:/bin/sh"]
    assert group_file("root:x:0:\n", USER).splitlines() == ["root:x:0:", "dyno:x:1900000007:"]
    assert passwd_file(root, None) == root


@pytest.mark.parametrize(
    ("path", "code", "expected"),
    [
        ("/srv/shop/.venv/bin", "/srv/shop", "/app/.venv/bin"),
        ("/srv/shop", "/srv/shop", "/app"),
        ("/srv/shopping/bin", "/srv/shop", "/srv/shopping/bin"),
        ("/usr/bin", "", "/usr/bin"),
    ],
)
def test_paths_of_the_code_are_paths_of_app(path: str, code: str, expected: str) -> None:
    assert inside_path(path, code) == expected
