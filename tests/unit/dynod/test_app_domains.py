"""Domains over the API and a real store: whose a name is, how it is written, and what the router and the log hear."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from dynod.app_domains import ascii_name
from dynod.operations import InvalidError
from dynod.store.errors import DomainRefusedError
from support.api_server import ApiServer
from support.stored_apps import ME, StoredApps


def hostnames(apps: StoredApps, app: str) -> list[object]:
    status, _, documents = apps.server.ask("GET", f"/apps/{app}/domains")
    assert status == 200
    assert isinstance(documents, list)
    return [document["hostname"] for document in documents]


def test_a_domain_is_added_found_and_removed(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        status, _, added = apps.server.ask("POST", "/apps/shop/domains", body={"hostname": "WWW.Example.com."})
        assert status == 201
        assert isinstance(added, dict)
        assert (added["hostname"], added["kind"], added["cname"]) == (
            "www.example.com",
            "custom",
            "shop.apps.example",
        )
        assert added["app"] == {"id": apps.id_of("shop"), "name": "shop"}
        assert hostnames(apps, "shop") == ["shop.apps.example", "www.example.com"]
        assert hostnames(apps, "blog") == ["blog.apps.example"]
        for ref in ("www.example.com", added["id"]):
            assert apps.server.ask("GET", f"/apps/shop/domains/{ref}")[2] == added
        status, _, removed = apps.server.ask("DELETE", f"/apps/shop/domains/{quote('WWW.example.com')}")
        assert (status, removed) == (200, added)
        assert hostnames(apps, "shop") == ["shop.apps.example"]
        assert apps.rerouted == [apps.id_of("shop")] * 2
        assert [line.partition(" by user ")[0] for line in apps.said["shop"].lines] == [
            "Add domain www.example.com",
            "Remove domain www.example.com",
        ]
        assert apps.trail() == [("domain.add", "www.example.com"), ("domain.remove", "www.example.com")]


def test_a_name_leads_to_one_app_alone(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        assert apps.server.ask("POST", "/apps/shop/domains", body={"hostname": "*.example.com"})[0] == 201
        for app, whose in (("blog", "another app"), ("shop", "this app")):
            status, _, refused = apps.server.ask("POST", f"/apps/{app}/domains", body={"hostname": "*.EXAMPLE.com"})
            assert isinstance(refused, dict)
            assert (status, refused["id"]) == (422, "invalid_params")
            assert refused["message"] == f"*.example.com is in use by {whose} already."
        assert apps.server.ask("POST", "/apps/blog/domains", body={"hostname": "www.example.com"})[0] == 201
        assert hostnames(apps, "blog") == ["blog.apps.example", "www.example.com"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"hostname": "exa mple.com"}, "no host name"),
        ({"hostname": "*.apps.example"}, "every app"),
        ({"hostname": ""}, "length >= 1"),
        ({"hostname": "ä" * 900}, "no host name"),
        ({"hostname": "a\u200d.example"}, "no host name"),
        ({"hostname": 3}, "Expected `str`"),
        ({}, "missing required field `hostname`"),
    ],
)
def test_a_name_that_cannot_be_changes_nothing(tmp_path: Path, body: object, message: str) -> None:
    with StoredApps(tmp_path) as apps:
        status, _, refused = apps.server.ask("POST", "/apps/shop/domains", body=body)
        assert isinstance(refused, dict)
        assert status == 422
        assert message in refused["message"]
        assert (apps.rerouted, apps.said["shop"].lines, apps.trail()) == ([], [], [])


@pytest.mark.parametrize(
    ("method", "path", "resource"),
    [
        ("GET", "/apps/nope/domains", "app"),
        ("POST", "/apps/nope/domains", "app"),
        ("GET", "/apps/shop/domains/nope.example", "domain"),
        ("DELETE", "/apps/shop/domains/nope.example", "domain"),
        ("DELETE", "/apps/shop/domains/shop.apps.example", "domain"),
        ("DELETE", "/apps/shop/domains/%00", "domain"),
    ],
)
def test_what_is_not_there(tmp_path: Path, method: str, path: str, resource: str) -> None:
    with StoredApps(tmp_path) as apps:
        status, _, document = apps.server.ask(method, path, body={"hostname": "www.example.com"})
        assert isinstance(document, dict)
        assert (status, document["resource"]) == (404, resource)


def test_domains_outlive_the_daemon_and_go_with_their_app(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        apps.server.ask("POST", "/apps/shop/domains", body={"hostname": "shop.example"})
    with StoredApps(tmp_path) as again:
        assert hostnames(again, "shop") == ["shop.apps.example", "shop.example"]
        asyncio.run(destroy(again))
        assert again.server.ask("POST", "/apps/blog/domains", body={"hostname": "shop.example"})[0] == 201


async def destroy(apps: StoredApps) -> None:
    await apps.store.apps.destroy(apps.id_of("shop"), by=ME)


def test_one_too_many_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynod.store.domains.MOST_DOMAINS", 3)

    async def work(apps: StoredApps) -> None:
        for number in range(3):
            await apps.store.domains.add(apps.id_of("shop"), f"{number}.example", by=ME)
        with pytest.raises(DomainRefusedError, match="3 domains"):
            await apps.store.domains.add(apps.id_of("shop"), "4.example", by=ME)

    with StoredApps(tmp_path) as apps:
        asyncio.run(work(apps))


def test_up_has_none_of_this() -> None:
    with ApiServer() as server:
        status, _, document = server.ask("GET", "/apps/shop/domains")
        assert isinstance(document, dict)
        assert status == 422
        assert "dynod up" in document["message"]


@pytest.mark.parametrize(
    ("written", "ascii_form"),
    [
        (" Example.COM. ", "example.com"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.de", "xn--mnchen-3ya.de"),
        ("*.straße.example", "*.xn--strae-oqa.example"),  # as browsers since 2016, not "strasse"
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)
def test_names_of_other_scripts_are_what_browsers_send(written: str, ascii_form: str) -> None:
    assert ascii_name(written) == ascii_form


@pytest.mark.parametrize("written", ["a\u200db.example", "ü..example", "*.*.ü", "ü" * 100])
def test_what_no_browser_would_send_is_refused(written: str) -> None:
    with pytest.raises(InvalidError, match="no host name"):
        ascii_name(written)
