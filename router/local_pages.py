"""Answers that the router gives itself: error pages, maintenance, unknown hosts. Bytes made from values.

Statuses and headers are Heroku's (Dev Center "Error Pages"); the page itself is our own and loads nothing from
elsewhere, but for an operator's own page, which is shown in a frame as Heroku does it.
"""

import html
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from router.core.codes import Code

_EXTRA_REASONS: Final = {417: "Expectation Failed", 408: "Request Timeout", 413: "Content Too Large"}

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: #fafafa; color: #333;
  font: 16px/1.5 system-ui, sans-serif }}
main {{ max-width: 36rem; padding: 2rem }}
h1 {{ font-weight: 500; font-size: 1.6rem }}
code {{ background: #eee; padding: .1em .3em }}
</style>
</head>
<body><main><h1>{heading}</h1>
{text}
</main></body>
</html>
"""

_FRAME: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>html, body, iframe {{ margin: 0; padding: 0; border: 0; width: 100%; height: 100% }}</style>
</head>
<body><iframe src="{url}"></iframe></body>
</html>
"""


def error_page(code: Code | None, status: int, *, cause: str = "", page_url: str = "") -> bytes:
    """The HTML that goes with a code."""
    if code is Code.MAINTENANCE:
        title, heading = "Offline for Maintenance", "Offline for maintenance"
        text = "<p>This application is undergoing maintenance. Please check back shortly.</p>"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        title, heading = "Application Error", "Application error"
        text = (
            "<p>An error occurred in the application and your page could not be served.</p>"
            "<p>If you are the application owner, <code>dynod logs --tail</code> says more"
            f"{f' (code {code.value})' if code else ''}.</p>"
        )
    else:
        title = heading = f"{status} {reason(status)}"
        text = f"<p>The request was refused: {html.escape(cause or reason(status))}.</p>"
    if page_url:
        return _FRAME.format(title=title, url=html.escape(page_url, quote=True)).encode()
    return _PAGE.format(title=title, heading=heading, text=text).encode()


def no_such_app_page(known: Iterable[str]) -> bytes:
    """The page for a Host that no app has. `known` (host names) is only given for a client on this machine."""
    text = "<p>There is no app configured at that hostname.</p>"
    names = sorted(known)
    if names:
        items = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in names)
        text += f"<p>Known here (shown to local clients only):</p><ul>{items}</ul>"
    return _PAGE.format(title="No such app", heading="No such app", text=text).encode()


def answer(status: int, page: bytes, *, head_only: bool, keep_alive: bool, http10: bool, date: bytes) -> bytes:
    """A whole HTTP answer. `head_only` for HEAD: the length of the page, without the page."""
    connection = b""
    if not keep_alive:
        connection = b"Connection: close\r\n"
    elif http10:
        connection = b"Connection: keep-alive\r\n"
    allow = (
        b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if status == HTTPStatus.METHOD_NOT_ALLOWED else b""
    )
    return (
        b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Cache-Control: no-cache, no-store\r\nContent-Length: %d\r\n%b%b\r\n%b"
        % (status, reason(status).encode(), date, len(page), allow, connection, b"" if head_only else page)
    )


def reason(status: int) -> str:
    """The reason phrase of a status."""
    return _EXTRA_REASONS.get(status) or HTTPStatus(status).phrase
