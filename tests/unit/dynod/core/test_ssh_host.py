"""Which machines can be named, and that nothing of a name is ever an option, a shell's word or a token of ssh's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.ssh_host import SshHost, parse_ssh_command, parse_ssh_host
from dynod.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://me@vm", SshHost(user="me", host="vm")),
        ("ssh://me@vm/", SshHost(user="me", host="vm")),
        ("ssh://vm", SshHost(host="vm")),
        ("ssh://deploy-1@vm.example.org:2222", SshHost(user="deploy-1", host="vm.example.org", port=2222)),
        ("ssh://me@192.0.2.1:22", SshHost(user="me", host="192.0.2.1", port=22)),
        ("ssh://me@[2001:db8::1]:22", SshHost(user="me", host="2001:db8::1", port=22)),
        ("ssh://my_alias", SshHost(host="my_alias")),
    ],
)
def test_a_machine(text: str, expected: SshHost) -> None:
    assert parse_ssh_host(text, source="x") == expected
    assert parse_ssh_host(str(expected), source="x") == expected


@pytest.mark.parametrize(
    "text",
    [
        *("vm", "me@vm", "http://vm", "ssh:vm", "SSH://vm", "ssh://", "ssh:///", "ssh://@vm", "ssh://me@"),
        *("ssh://-oProxyCommand=x", "ssh://me@-oProxyCommand=x", "ssh://-l@vm", "ssh://me:word@vm", "ssh://a@b@vm"),
        *("ssh://vm:", "ssh://vm:0", "ssh://vm:65536", "ssh://vm:-1", "ssh://vm:٣", "ssh://vm:1:2", "ssh://vm/x"),
        *(
            "ssh://vm;id",
            "ssh://$(id)",
            "ssh://`id`",
            "ssh://a b",
            "ssh://vm\n",
            "ssh://m\ne@vm",
            "ssh://%h",
            "ssh://v|m",
        ),
        *(
            "ssh://2001:db8::1",
            "ssh://[::1",
            "ssh://[vm]",
            "ssh://[::1%eth0]",
            "ssh://me@[-x]",
            "ssh://vm?x",
            "ssh://vm#x",
        ),
    ],
)
def test_what_names_no_machine_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="DYNOD_HOST: expected ssh://USER@HOST"):
        parse_ssh_host(text, source="DYNOD_HOST")


@given(st.one_of(st.text(), st.from_regex(r"[ -~]{0,9}@?[ -~]{1,9}(:[ -~]{0,5})?", fullmatch=True)))
def test_nothing_that_is_accepted_can_be_taken_for_anything_else(place: str) -> None:
    try:
        host = parse_ssh_host(f"ssh://{place}", source="x")
    except UsageError:
        return
    command = host.command(["ssh"], ["-T"], "dynod api-stdio")
    assert command[-3:] == ["--", host.host, "dynod api-stdio"]
    for word in (host.host, host.user or "x"):
        assert not word.startswith("-")
        assert not set(word) & set(" \t\r\n\0;|&$`'\"\\<>(){}*?!%~#=,@/")


def test_the_command_line_of_ssh() -> None:
    host = parse_ssh_host("ssh://me@vm:2222", source="x")
    ssh = parse_ssh_command("ssh -F 'my file'")
    assert host.command(ssh, ["-T"], "x") == ["ssh", "-F", "my file", "-T", "-p", "2222", "-l", "me", "--", "vm", "x"]


@pytest.mark.parametrize("text", ["'", "ssh -F 'x", " "])
def test_a_command_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="DYNOD_SSH"):
        parse_ssh_command(text)


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_word_it_is_the_ssh_of_the_machine(text: str | None) -> None:
    assert parse_ssh_command(text) == ("ssh",)
