# The compiled twin of http_head.py's plain case; see _http_head.c. May be missing: it is optional at build.

def scan_request(
    block: bytes, most_fields: int, most_line: int, most_name: int, /
) -> tuple[bytes, bytes, int, int, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None] | None: ...
def scan_answer(
    block: bytes, most_line: int, /
) -> tuple[bytes, int, int, int, int, bytes | None, bytes | None] | None: ...
