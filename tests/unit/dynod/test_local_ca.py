"""The local authority: what it signs is trusted for loopback and nothing else, its key is its owner's, it lasts."""

import asyncio
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dynod.local_ca import RENEW_BEFORE, LocalAuthority
from dynod.local_certificates import AUTHORITY_LIFE, FILE, LEAF_LIFE
from support.installed import program


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def handshake(server: ssl.SSLContext, authority: str, name: str) -> None:
    """A whole one in memory. Raises ssl.SSLCertVerificationError."""
    client = ssl.create_default_context(cadata=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=name),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[0].do_handshake()


def test_it_is_trusted_for_loopback_alone(tmp_path: Path) -> None:
    async def run() -> tuple[ssl.SSLContext, str]:
        authority = LocalAuthority(tmp_path / "ca")
        return await authority.context(), await authority.certificate()

    context, certificate = asyncio.run(run())
    for name in ("localhost", "127.0.0.1", "::1"):
        handshake(context, certificate, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, certificate, "example.com")


def test_what_else_its_key_signs_is_not_trusted(tmp_path: Path) -> None:
    """Name constraints: a stolen key cannot stand in for another site."""
    openssl = program("openssl")

    async def run() -> None:
        await LocalAuthority(tmp_path).certificate()

    asyncio.run(run())
    stolen, evil = tmp_path / FILE, tmp_path / "evil.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-CA", stolen, "-CAkey", stolen, "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com", "-days", "2"),
            *("-keyout", tmp_path / "evil.key", "-out", evil),
        ],
        check=True,
        capture_output=True,
    )
    verified = subprocess.run([openssl, "verify", "-CAfile", stolen, evil], check=False, capture_output=True, text=True)
    assert verified.returncode != 0
    assert "permitted subtree violation" in verified.stdout + verified.stderr


def test_its_key_is_its_owners_and_nothing_else_is_left(tmp_path: Path) -> None:
    async def run() -> None:
        await LocalAuthority(tmp_path / "ca").context()

    asyncio.run(run())
    assert [path.name for path in (tmp_path / "ca").iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / "ca" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_it_lasts_and_what_it_signs_is_renewed_before_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        authority = LocalAuthority(tmp_path, clock=clock)
        certificate, context = await authority.certificate(), await authority.context()
        assert await authority.context() is context
        assert await LocalAuthority(tmp_path).certificate() == certificate  # the next core's
        clock.now += LEAF_LIFE - RENEW_BEFORE + timedelta(seconds=1)
        assert await authority.context() is not context
        assert await authority.certificate() == certificate
        clock.now += AUTHORITY_LIFE - LEAF_LIFE
        assert await authority.certificate() != certificate

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_file_that_holds_something_else_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)

    async def run() -> None:
        handshake(await LocalAuthority(tmp_path).context(), await LocalAuthority(tmp_path).certificate(), "localhost")

    asyncio.run(run())


def test_two_at_once_agree(tmp_path: Path) -> None:
    async def run() -> None:
        made = await asyncio.gather(*(LocalAuthority(tmp_path).certificate() for _ in range(4)))
        assert len(set(made)) == 1

    asyncio.run(run())
