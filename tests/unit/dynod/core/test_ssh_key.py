"""Keys of ssh as people paste them, and the lines that open nothing else."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.ssh_key import KeyRefusedError, PublicKey, authorized_line, parse_public_key

# Made by ssh-keygen; the fingerprint is what `ssh-keygen -l` says of it.
ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgaW4gdGVzdHMgYWxvbmUsIG5vIG9uZSdzIGtl"


def blob(kind: str, *fields: bytes) -> str:
    return base64.b64encode(b"".join(len(x).to_bytes(4, "big") + x for x in (kind.encode(), *fields))).decode()


def test_a_line_is_read_and_its_fingerprint_is_openssh_s() -> None:
    key = parse_public_key(f"# mine\n\n  ssh-ed25519 {blob('ssh-ed25519', bytes(32))}   me@laptop of mine \n")
    assert key == PublicKey(type="ssh-ed25519", blob=blob("ssh-ed25519", bytes(32)), comment="me@laptop of mine")
    assert key.fingerprint == "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
    assert str(key) == f"ssh-ed25519 {key.blob} me@laptop of mine"
    assert parse_public_key(f"ssh-ed25519 {key.blob}").comment == ""
    big = blob("ssh-rsa", b"\x01\x00\x01", b"\x00" + bytes([0x80]) + bytes(255))
    assert parse_public_key(f"ssh-rsa {big} old").type == "ssh-rsa"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "found 0 lines"),
        (f"ssh-ed25519 {ED25519}\nssh-ed25519 {ED25519}", "found 2 lines"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private key: keep it to yourself"),
        ("ssh-ed25519", "Expected a public key"),
        (f"ssh-dss {ED25519}", "Expected a public key"),
        (f'command="sh" ssh-ed25519 {ED25519}', "Expected a public key"),
        ("ssh-ed25519 AAAA!", "no base64"),
        (f"ssh-ed25519 {blob('ssh-ed25519', bytes(32))[:-8]}", "cut short"),
        (f"ssh-ed25519 {blob('ssh-rsa', bytes(32))}", "is no ssh-ed25519"),
        (f"ssh-ed25519 {blob('ssh-ed25519')}", "cut short"),
        (f"ssh-rsa {blob('ssh-rsa', b'x', bytes([0x80]) + bytes(127))}", "at least 2048 bits"),
    ],
)
def test_what_is_no_key_is_refused_and_said(text: str, why: str) -> None:
    with pytest.raises(KeyRefusedError, match=why):
        parse_public_key(text)


@given(st.text() | st.builds("ssh-ed25519 {} {}".format, st.text(), st.text()))
def test_no_text_is_more_than_refused(text: str) -> None:
    with contextlib.suppress(KeyRefusedError):
        assert "\n" not in str(parse_public_key(text))


def test_a_line_for_sshd_forces_one_command_and_forbids_the_rest() -> None:
    key = parse_public_key(f'ssh-ed25519 {blob("ssh-ed25519", bytes(32))} "x" command="sh"')
    line = authorized_line(key, "1-2", ["/opt/my dynod/python", "-m", "dynod", "ssh-serve"])
    assert line == (f"restrict,command=\"'/opt/my dynod/python' -m dynod ssh-serve 1-2\" ssh-ed25519 {key.blob} 1-2")
    for path in ('/a"b', "/a\\b", "/a\nb"):
        with pytest.raises(KeyRefusedError):
            authorized_line(key, "1-2", [path])
