"""`dynod domains`: which app a request reaches, while the names change."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.serve import Serve

pytestmark = pytest.mark.timeout(120)
WEB = {"web": toy("web_server")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


def test_domains_lead_to_their_apps_as_soon_as_they_are_added_and_no_longer(serve: Serve, tmp_path: Path) -> None:
    apps = {name: serve.app(tmp_path, name, procfile=WEB) for name in ("shop", "blog")}
    for app in apps.values():
        app.wait_until_up("web.1")
    names = {app.pids()["web.1"]: app.name for app in apps.values()}

    def reached(host: str) -> object:
        answer = serve.get("/", headers={"Host": host})
        return names[json.loads(answer.body)["pid"]] if answer.status == 200 else answer.status

    assert reached("www.example.com") == 404
    added = serve.done("domains:add", "-a", "shop", "*.Example.com")
    assert added.stderr == (
        "Adding *.Example.com to ⬢ shop... done\n"
        "Configure your app's DNS provider to point *.example.com to this machine (shop.localhost).\n"
    )
    serve.done("domains:add", "-a", "blog", "blog.example.com")
    serve.done("domains:add", "-a", "shop", "münchen.example")
    expected = {
        "www.example.com": "shop",
        "WWW.EXAMPLE.COM.:8080": "shop",
        "a.b.example.com": "shop",
        "blog.example.com": "blog",
        "xn--mnchen-3ya.example": "shop",
        "example.com": 404,
        "shop.localhost": "shop",
        "blog.localhost": "blog",
    }
    assert {host: reached(host) for host in expected} == expected
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    assert {host: reached(host) for host in expected} == expected
    assert serve.done("domains", "-a", "shop").stdout == (
        "=== ⬢ shop Heroku Domain\n\nshop.localhost\n\n"
        "=== ⬢ shop Custom Domains\n\n"
        "Domain Name             DNS Record Type  DNS Target\n"
        "*.example.com           CNAME            shop.localhost\n"
        "xn--mnchen-3ya.example  ALIAS or ANAME   shop.localhost\n"
    )
    taken = serve.dynod("domains:add", "-a", "shop", "blog.example.com")
    assert taken.returncode == 1
    assert taken.stderr.endswith("blog.example.com is in use by another app already.\n")
    serve.done("apps:rename", "-a", "shop", "store")
    assert (reached("www.example.com"), reached("store.localhost")) == ("shop", "shop")
    assert serve.done("domains:remove", "-a", "store", "münchen.example").stderr == (
        "Removing münchen.example from ⬢ store... done\n"
    )
    assert reached("xn--mnchen-3ya.example") == 404
    cleared = json.loads(serve.done("domains:clear", "-a", "store", "--json").stdout)
    assert [domain["hostname"] for domain in cleared] == ["*.example.com"]
    assert (reached("www.example.com"), reached("blog.example.com")) == (404, "blog")
    assert json.loads(serve.done("domains", "-a", "store", "--json").stdout)[0]["hostname"] == "store.localhost"
    serve.done("apps:destroy", "blog", "--confirm", "blog")
    serve.done("domains:add", "-a", "store", "blog.example.com")  # free again
    assert reached("blog.example.com") == "shop"
