"""The git remote that names app and dynod: what is read from it, and what never gets through."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.git_remote import GitRemote, parse_remote, url_of_remote
from dynod.core.ssh_host import SshHost
from dynod.errors import UsageError

VM = SshHost(host="vm.example.com", user="me")


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("dynod::shop", GitRemote(app="shop")),
        ("shop", GitRemote(app="shop")),  # as git hands it to the helper
        ("dynod::/srv/dynod.sock/shop", GitRemote(app="shop", socket="/srv/dynod.sock")),
        ("dynod::ssh://me@vm.example.com/shop", GitRemote(app="shop", host=VM)),
        ("ssh://me@vm.example.com/shop.git", GitRemote(app="shop", host=VM)),
        ("ssh://me@vm.example.com/shop.git/", GitRemote(app="shop", host=VM)),
        ("me@vm.example.com:shop.git", GitRemote(app="shop", host=VM)),
        ("me@vm.example.com:/shop", GitRemote(app="shop", host=VM)),
        ("vm:shop.git", GitRemote(app="shop", host=SshHost(host="vm"))),
        ("ssh://[::1]:2222/shop", GitRemote(app="shop", host=SshHost(host="::1", port=2222))),
    ],
)
def test_a_url_names_an_app_and_where_it_is(url: str, remote: GitRemote) -> None:
    assert parse_remote(url, source="here") == remote


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dynod::",
        "dynod::../../etc",
        "https://git.example.com/shop.git",
        "ssh://me@vm.example.com",
        "ssh://-oProxyCommand=x/shop",
        "dynod::ssh://me@vm/shop;reboot",
        "me@-vm:shop",
        "/",
        "dynod::/shop/",
        "ext::sh -c x",
    ],
)
def test_anything_else_is_refused_by_its_place(url: str) -> None:
    with pytest.raises(UsageError, match=r"^remote dynod of x: "):
        parse_remote(url, source="remote dynod of x")


@given(
    st.builds(
        GitRemote,
        app=st.from_regex(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", fullmatch=True),
        host=st.none() | st.just(VM) | st.just(SshHost(host="::1", user="a", port=7)),
    )
    | st.builds(GitRemote, app=st.just("shop"), socket=st.sampled_from(["/s", "/a b/c.sock"]))
)
def test_what_is_written_is_read_back(remote: GitRemote) -> None:
    assert parse_remote(str(remote), source="") == remote


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_remote(text, source="")
    url_of_remote(text)


def test_a_configuration_is_read_as_git_reads_it() -> None:
    text = """
# a comment
[core]
\trepositoryformatversion = 0
[remote "origin"]
\turl = https://example.com/x.git
[remote "dynod"]  ; the one
\tfetch = +refs/heads/*:refs/remotes/dynod/*
\tURL = "dynod::ssh://me@vm/shop"  # yes
\turl = second
[branch "main"]
\turl = no
"""
    assert url_of_remote(text) == "dynod::ssh://me@vm/shop"
    assert url_of_remote(text, "origin") == "https://example.com/x.git"
    assert url_of_remote(text, "heroku") is None
    assert url_of_remote('[remote "dynod"] url = dynod::shop ; c') == "dynod::shop"
