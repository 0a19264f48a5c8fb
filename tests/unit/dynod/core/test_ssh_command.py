"""What may be asked for with a key: git on an app, and the API."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_name import app_name_fault
from dynod.core.ssh_command import Api, GitService, parse_ssh_command
from dynod.errors import UsageError


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("git-receive-pack 'shop.git'", "git-receive-pack"),
        ("git-receive-pack '/shop.git'", "git-receive-pack"),
        ("git-receive-pack '/shop.git/'", "git-receive-pack"),
        ("git-upload-pack 'shop'", "git-upload-pack"),
        ("git receive-pack 'shop.git'", "git-receive-pack"),
    ],
)
def test_git_on_an_app(text: str, service: str) -> None:
    assert parse_ssh_command(text) == GitService(service=service, app="shop")


def test_the_api() -> None:
    assert isinstance(parse_ssh_command("dynod api-stdio"), Api)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "sh",
        "git-receive-pack",
        "git-receive-pack shop.git extra",
        "git-receive-pack --upload-pack=sh",
        "git-receive-pack '../../etc'",
        "git-receive-pack '/srv/other/shop.git'",
        "git-receive-pack 'shop.git'; sh",
        "git-upload-archive 'shop.git'",
        "git upload-archive 'shop.git'",
        "dynod api-stdio --socket /x",
        "dynod serve",
        "git-receive-pack 'shop",
        "scp -t /tmp",
    ],
)
def test_anything_else_is_nothing(text: str | None) -> None:
    with pytest.raises(UsageError):
        parse_ssh_command(text)


@given(st.text())
def test_whatever_is_asked_only_an_app_comes_of_it(text: str) -> None:
    with contextlib.suppress(UsageError):
        wanted = parse_ssh_command(f"git-receive-pack {text}")
        assert isinstance(wanted, GitService)
        assert app_name_fault(wanted.app) is None
