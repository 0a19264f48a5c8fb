"""A short run of the fuzz with nginx and Node as judges: what they would read differently is never passed on."""

import random
from pathlib import Path

import pytest
from unit.router import body_fuzz, head_fuzz

from support.counts import rounds
from support.head_judges import judge


def folder_for(name: str, tmp_path: Path) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        above.chmod(above.stat().st_mode | 0o011)  # nginx's workers are another user's
    return folder


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_what_goes_on_is_read_the_same_by_nginx_and_node(tmp_path: Path, plain: bool) -> None:  # a table's column
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with (
        head_fuzz.parser_of_ours(plain=plain),
        judge("nginx", folder_for("nginx", tmp_path)) as nginx,
        judge("node", folder_for("node", tmp_path)) as node,
    ):
        head_fuzz.run(rounds(2000, full=100_000), seed, judges=[nginx, node])
        for one in (nginx, node):
            assert one.agreed > 300, "too little goes on to be judged"
            assert one.refused < one.agreed / 10, "what goes on is refused by servers"


@pytest.mark.parametrize("name", ["nginx", "node"])
def test_a_judge_notices_another_framing(tmp_path: Path, name: str) -> None:
    """What the router refuses and a careless proxy would pass on: without this, agreement would say nothing."""
    post = b"POST / HTTP/1.1\r\nHost: a\r\n"
    smuggled = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    with judge(name, folder_for(name, tmp_path)) as one:

        def verdict(message: bytes, length: int) -> str | None:
            return one.disagrees(message, method=b"POST", target=b"/", host=b"a", length=length)

        assert verdict(post + b"Content-Length: 5\r\n\r\nhello", 5) is None
        assert verdict(body_fuzz.HEAD.replace(b"/body", b"/") + b"5\r\nhello\r\n0\r\n\r\n", 5) is None
        assert one.agreed == 2
        assert verdict(post + b"Content-Length: 0\r\n\r\n" + smuggled, len(smuggled)) is not None
        assert verdict(post + b"Content-Length: 5\r\n\r\nhello" + smuggled, 5 + len(smuggled)) is not None
        assert verdict(post + b"Content-Length: 40\r\n\r\nhello", 5) is not None
        assert verdict(post.replace(b"Host: a", b"Host: b") + b"Content-Length: 0\r\n\r\n", 0) is not None
