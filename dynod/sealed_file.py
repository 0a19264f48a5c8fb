"""A stream under a passphrase: whoever has not got it reads nothing of it, and cuts, moves and alters nothing unseen.

    15 bytes    dynod-sealed-1, and a newline
    3 bytes     scrypt's costs: log2 of N, r, p
    16 bytes    scrypt's salt, random: so that no key is used for two files
    16 bytes    a tag over what is above, by which a wrong passphrase is told from a damaged file
    frames      64 KiB each of ChaCha20-Poly1305 and its tag; only the last is shorter, and may be empty

A frame's nonce is its number, and whether it is the last: the STREAM construction of Hoang, Reyhanitabar, Rogaway and
Vizár (2015), as age (age-encryption.org) has it too. So frames in another order, left out or taken from another file do
not open, and a file that ends early lacks its last.

Flow: backup → **sealed file** → file → restore. Blocks. May import errors and `cryptography`. Where a passphrase comes
from is its callers' business.
"""

import io
import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from dynod.errors import DynodError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC: Final = b"dynod-sealed-1\n"
COSTS: Final = (17, 8, 1)  # 128 MB and some 0.3 s: OWASP, "Password Storage Cheat Sheet", scrypt
MOST_COSTS: Final = (20, 8, 4)  # 1 GB: what a file that somebody else wrote may ask of this machine
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
FRAME_BYTES: Final = 64 * 1024
HEADER_BYTES: Final = len(MAGIC) + len(COSTS) + SALT_BYTES
_COUNTER_BYTES: Final = 11  # of a nonce's twelve; the last says which kind of frame it is
_MORE, _LAST, _HEADER = b"\x00", b"\x01", b"\x02"


class SealedFileError(DynodError):
    """It does not open: the passphrase is another one, or the file is not what was written."""

    code = "sealed_file"


def sealed(pieces: Iterable[bytes], passphrase: str, *, costs: tuple[int, int, int] = COSTS) -> Iterator[bytes]:
    """The stream of `pieces` as a sealed file, in pieces; memory for one frame is all that it needs."""
    header = MAGIC + bytes(costs) + os.urandom(SALT_BYTES)
    cipher = _cipher(passphrase, header)
    yield header + cipher.encrypt(_nonce(0, _HEADER), b"", header)
    waiting, number = bytearray(), 0
    for piece in pieces:
        waiting += piece
        while len(waiting) > FRAME_BYTES:  # what is exactly one may be the last
            yield cipher.encrypt(_nonce(number, _MORE), bytes(waiting[:FRAME_BYTES]), None)
            del waiting[:FRAME_BYTES]
            number += 1
    yield cipher.encrypt(_nonce(number, _LAST), bytes(waiting), None)


def is_sealed(file: IO[bytes]) -> bool:
    """Whether a file begins as a sealed one; it is read from its beginning again afterwards. Raises OSError."""
    begins = file.read(len(MAGIC))
    file.seek(0)
    return begins == MAGIC


class Unsealed(io.RawIOBase):
    """What was sealed, as a file to read once, from its beginning on; reading raises SealedFileError, OSError."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        """`file` stays its opener's. Raises SealedFileError where the passphrase is another one, OSError."""
        header = _exactly(file, HEADER_BYTES)
        tag = _exactly(file, TAG_BYTES)
        costs = tuple(header[len(MAGIC) : len(MAGIC) + len(COSTS)])
        if len(tag) < TAG_BYTES or not header.startswith(MAGIC):
            raise SealedFileError("it is cut short")
        if not all(1 <= cost <= most for cost, most in zip(costs, MOST_COSTS, strict=True)):
            raise SealedFileError("it asks for more memory than a passphrase is worth: it was altered")
        self._file = file
        self._cipher = _cipher(passphrase, header)
        try:
            self._cipher.decrypt(_nonce(0, _HEADER), tag, header)
        except InvalidTag:
            raise SealedFileError("that is not its passphrase") from None
        self._number = 0
        self._ahead = _exactly(file, FRAME_BYTES + TAG_BYTES)
        self._opened = memoryview(b"")
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._opened and not self._done:
            self._opened = memoryview(self._next_frame())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._opened))
        target[:count] = self._opened[:count]
        self._opened = self._opened[count:]
        return count

    def _next_frame(self) -> bytes:
        frame = self._ahead
        self._ahead = _exactly(self._file, FRAME_BYTES + TAG_BYTES)
        kind = _MORE if self._ahead else _LAST
        try:
            opened = self._cipher.decrypt(_nonce(self._number, kind), frame, None)
        except InvalidTag:
            raise SealedFileError("it is cut short, or altered") from None
        self._number += 1
        self._done = kind == _LAST
        return opened


def _cipher(passphrase: str, header: bytes) -> ChaCha20Poly1305:
    log_n, r, p = header[len(MAGIC) : len(MAGIC) + len(COSTS)]
    salt = header[-SALT_BYTES:]
    # One é or two characters: which of them a keyboard makes is no business of the user's (RFC 8265, OpaqueString).
    secret = unicodedata.normalize("NFC", passphrase).encode()
    return ChaCha20Poly1305(Scrypt(salt=salt, length=KEY_BYTES, n=1 << log_n, r=r, p=p).derive(secret))


def _nonce(number: int, kind: bytes) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + kind


def _exactly(file: IO[bytes], count: int) -> bytes:
    """So many bytes, fewer only at the end."""
    found = bytearray()
    while len(found) < count and (piece := file.read(count - len(found))):
        found += piece
    return bytes(found)
