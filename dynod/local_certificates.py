"""The certificates of `local_ca`: what stands in them, and the authority's file. Blocks.

A module of its own because it alone imports `cryptography`, megabytes that only who needs TLS on loopback should hold.
"""

import contextlib
import fcntl
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FILE: Final = "authority.pem"  # its key and its certificate
AUTHORITY_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=90)
CLOCKS_DIFFER: Final = timedelta(days=1)  # so much earlier than now a certificate begins
NAME: Final = "dynod on this machine"
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
ADDRESSES: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

Pair = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


class Issued(NamedTuple):
    """A key and certificate for a server, PEM; until when; and the certificate of the authority, PEM."""

    server: bytes
    until: datetime
    authority: str


def issue(folder: Path, now: datetime) -> Issued:
    """For localhost, by the authority in the folder, which is made if there is none. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(folder):
        authority_key, authority = _authority(folder / FILE, now)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + LEAF_LIFE, authority.not_valid_after_utc)
    leaf = _leaf(key, authority_key, authority, now, until)
    return Issued(_key_pem(key) + _pem(leaf), until, _pem(authority).decode("ascii"))


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other dynod of this user makes an authority meanwhile."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _authority(path: Path, now: datetime) -> Pair:
    """The one that is there, or a new one in its place."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        key, certificate = _read(path)
        if certificate.not_valid_after_utc - now > LEAF_LIFE:
            return key, certificate
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _root(key, now)
    file, name = tempfile.mkstemp(dir=path.parent, prefix="authority-")  # 0600
    try:
        with os.fdopen(file, "wb") as new:
            new.write(_key_pem(key) + _pem(certificate))
            new.flush()
            os.fsync(file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return key, certificate


def _read(path: Path) -> Pair:
    """Raises FileNotFoundError, ValueError."""
    content = path.read_bytes()
    key = load_pem_private_key(content, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of ours")  # noqa: TRY004 (what its caller looks for)
    return key, x509.load_pem_x509_certificate(content)


def _root(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name(NAME)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.NameConstraints([x509.DNSName("localhost"), *map(x509.IPAddress, LOOPBACK)], None), critical=True
        )
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    now: datetime,
    until: datetime,
) -> x509.Certificate:
    names = [x509.DNSName("localhost"), *map(x509.IPAddress, ADDRESSES)]
    return (
        x509.CertificateBuilder()
        .subject_name(_name("localhost"))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
