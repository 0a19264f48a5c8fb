"""What every page of the router has in common."""

from integration.router.bench import Answer


def is_page(answer: Answer, status: int) -> None:
    """The answer is the router's error page."""
    assert answer.status == status
    assert answer.get("content-type") == "text/html; charset=utf-8"
    assert answer.get("cache-control") == "no-cache, no-store"
    assert b"<title>" in answer.body
    assert b"//" not in answer.body, "the page loads something from elsewhere"
