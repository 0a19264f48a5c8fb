"""A request's body on its way to the backend: where it ends, how large it may be. Pure.

Flow: relay feeds what the client sends → what goes on to the backend now → `done`, and `surplus` is the next request.
"""

from router.core.chunked import ChunkReader
from router.errors import BodyTooLargeError


class RequestBody:
    """One body, by length or chunked. `size` counts its bytes, framing left out."""

    __slots__ = ("_chunks", "_left", "_most", "done", "size", "surplus")

    def __init__(self, *, length: int, chunked: bool, most: int) -> None:
        self._chunks = ChunkReader() if chunked else None
        self._left = length
        self._most = most  # 0: any size
        self.size = 0
        self.done = False
        self.surplus = b""

    @property
    def trailers(self) -> bytes | None:
        """The raw trailer lines of a chunked body that is done; None for a body by length."""
        return self._chunks.trailers if self._chunks is not None else None

    def feed(self, data: bytes) -> bytes:
        """What of `data` goes on. A chunked body's last chunk and trailers are left to the caller.

        Raises:
            ChunkError: for a chunk that the grammar does not allow.
            BodyTooLargeError: when a chunked body passes the limit.

        """
        chunks = self._chunks
        if chunks is None:
            left = self._left
            got = len(data)
            if got < left:
                self._left = left - got
                self.size += got
                return data
            self.size += left
            self.done = True
            if got == left:
                return data
            self.surplus = data[left:]
            return data[:left]
        out, self.surplus = chunks.feed(data)
        self.done = chunks.done
        self.size = chunks.body_bytes
        if self._most and self.size > self._most:
            raise BodyTooLargeError("oversized body")
        return out
