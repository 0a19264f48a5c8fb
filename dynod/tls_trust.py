"""When the system's certificates are read: as somebody is asked over TLS, and not at each start of a core.

aiohttp makes two contexts as it is imported, and OpenSSL reads every certificate of the system for each: 33 ms of the
420 that a service's core takes. aiohttp has no switch for it, but OpenSSL lets a variable say which file it is. So
those two contexts trust nobody, and whoever asks over TLS brings a context of its own; a test looks for who does not.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_FILE: Final = "SSL_CERT_FILE"  # openssl-env(7)


@contextlib.contextmanager
def left_unread() -> Iterator[None]:
    """While aiohttp is imported, before there are other threads: the environment is the whole process's."""
    before = os.environ.get(_FILE)
    os.environ[_FILE] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FILE]
        else:
            os.environ[_FILE] = before
