"""TLS without a socket: bytes in, what they say out, and the other way round. The server's end.

In memory, because the connection has been read from already when it turns out to be TLS (`tcp_door`), and because what
a client writes at once, such as the single byte that ends its input, must stay one piece.
"""

import contextlib
import ssl

RECORD_BYTES = 16 * 1024  # RFC 8446, 5.1: what one record holds at most


class TlsStream:
    """One connection. `receive` and `send` return at once; `outgoing` is what the socket is to be given."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_up = False
        self.has_ended = False  # the other side says that it sends no more

    def receive(self, data: bytes) -> list[bytes]:
        """What the other side has said, record by record. Raises ssl.SSLError."""
        self._incoming.write(data)
        records: list[bytes] = []
        try:
            if not self._is_up:
                self._tls.do_handshake()
                self._is_up = True
            while not self.has_ended:
                record = self._tls.read(RECORD_BYTES)
                if record:
                    records.append(record)
                else:
                    self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return records

    def send(self, data: bytes) -> None:
        """Say something, after the handshake. Raises ssl.SSLError."""
        self._tls.write(data)

    def end(self) -> None:
        """Say that nothing follows."""
        with contextlib.suppress(ssl.SSLError):  # the other side has not said so yet, and is not waited for
            self._tls.unwrap()

    def outgoing(self) -> bytes:
        """What is to be sent, once."""
        return self._outgoing.read()
