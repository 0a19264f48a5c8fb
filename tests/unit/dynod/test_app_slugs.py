"""Slugs over the API and a real store: said, uploaded, given back, unpacked, refused, and removed."""

import asyncio
import hashlib
import http.client
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dynod.core.archive_rules import Limits
from dynod.core.release import Draft, Release
from dynod.core.slug import Slug
from dynod.core.slug_retention import SLUGS_KEPT
from support.stored_apps import ME, StoredApps
from support.tarballs import tarball

ARCHIVE = tarball({"Procfile": "web: run web\n", "run.sh": "#!/bin/sh\n"}, below="./app/")
BODY = {"process_types": {"web": "run web"}, "commit": "60883d9e"}


def send(apps: StoredApps, method: str, url: str, content: bytes | None = None) -> tuple[int, bytes]:
    """To an address that was told, with no credentials besides it."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = apps.server.connect()
    with closing(connection):
        connection.request(method, urlsplit(url).path, body=content)
        response = connection.getresponse()
        return response.status, response.read()


def made(apps: StoredApps, **more: object) -> tuple[str, str]:
    """A new slug: its id, and where to upload it."""
    status, _, slug = apps.server.ask("POST", "/apps/shop/slugs", body={**BODY, **more})
    assert isinstance(slug, dict)
    assert (status, slug["blob"]["method"], slug["checksum"], slug["size"]) == (201, "put", None, None)
    return slug["id"], slug["blob"]["url"]


def test_a_slug_is_uploaded_and_given_back(tmp_path: Path) -> None:
    checksum = hashlib.sha256(ARCHIVE).hexdigest()
    with StoredApps(tmp_path) as apps:
        id_, url = made(apps, checksum=f"SHA256:{checksum}")
        assert send(apps, "PUT", url, ARCHIVE) == (200, b"")
        status, _, slug = apps.server.ask("GET", f"/apps/shop/slugs/{id_}")
        assert isinstance(slug, dict)
        assert status == 200
        assert (slug["checksum"], slug["size"], slug["commit"], slug["process_types"]) == (
            f"SHA256:{checksum}",
            len(ARCHIVE),
            "60883d9e",
            {"web": "run web"},
        )
        assert slug["blob"]["method"] == "get"
        assert send(apps, "GET", slug["blob"]["url"]) == (200, ARCHIVE)
        assert (tmp_path / "slugs" / f"{checksum}.tgz").read_bytes() == ARCHIVE

        async def look() -> tuple[Path, Path]:
            known = await apps.slugs.info("shop", id_)
            both = await asyncio.gather(apps.slugs.folder_of(known), apps.slugs.folder_of(known))
            return both[0], both[1]

        first, second = asyncio.run(look())
        assert first == second
        assert (first / "Procfile").read_text() == "web: run web\n"
        assert os.access(first / "run.sh", os.X_OK)
        assert {path.name for path in (tmp_path / "slugs").iterdir()} == {checksum, f"{checksum}.tgz"}
    with StoredApps(tmp_path) as again:  # the address is good for another core, and its archive is there
        assert send(again, "GET", slug["blob"]["url"]) == (200, ARCHIVE)
        assert send(again, "PUT", url, ARCHIVE)[0] == 422  # once and for all


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no gzipped tar"),
        (b"PK\x03\x04 a zip", "no gzipped tar"),
        (b"\x1f", "no gzipped tar"),
        (b"\x1f\x8b nothing", "no gzipped tar"),
        (bytes(5_000), "no gzipped tar"),
        (tarball({"big": os.urandom(30_000)}), "larger than 20,000 bytes|can have 20,000 bytes"),
    ],
)
def test_what_is_no_slug_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes, message: str) -> None:
    with StoredApps(tmp_path, limits=Limits(packed=20_000)) as apps:
        id_, url = made(apps)
        status, said = send(apps, "PUT", url, content)
        assert status in {413, 422}
        assert any(each in said.decode() for each in message.split("|"))
        assert list((tmp_path / "slugs").glob("*")) == []
        assert send(apps, "PUT", url, ARCHIVE)[0] == 200  # it can be tried again
        assert apps.server.ask("GET", f"/apps/shop/slugs/{id_}")[0] == 200


def test_an_upload_that_is_not_what_was_announced_is_refused(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        _, url = made(apps, checksum="SHA256:" + "0" * 64)
        status, said = send(apps, "PUT", url, ARCHIVE)
        assert (status, b"The archive's SHA-256 is" in said) == (422, True)
        assert list((tmp_path / "slugs").glob("*")) == []


def test_an_upload_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        _, url = made(apps)
        with apps.server.connect() as raw:
            head = f"PUT {urlsplit(url).path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ARCHIVE)}\r\n\r\n"
            raw.sendall(head.encode() + ARCHIVE[:20])
        assert send(apps, "PUT", url, ARCHIVE)[0] == 200
    assert [path.name for path in (tmp_path / "slugs").glob(".*")] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/blobs/"),
        ("PUT", "/blobs/slug-put/../../etc/passwd"),
        ("GET", "/blobs/slug-get/x/99999999999/-/0"),
        ("GET", "/blobs/source-get/%2e%2e%2fslugs/99999999999/-/" + "0" * 64),
    ],
)
def test_an_address_that_nobody_was_told_opens_nothing(tmp_path: Path, method: str, path: str) -> None:
    with StoredApps(tmp_path) as apps:
        assert send(apps, method, path)[0] == 404


def test_an_address_to_upload_gives_nothing_and_the_other_way_round(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        id_, url = made(apps)
        assert send(apps, "GET", url)[0] == 404
        send(apps, "PUT", url, ARCHIVE)
        _, _, slug = apps.server.ask("GET", f"/apps/shop/slugs/{id_}")
        assert isinstance(slug, dict)
        assert send(apps, "PUT", slug["blob"]["url"], ARCHIVE)[0] == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing required field `process_types`"),
        ({"process_types": {"web": ""}}, "is no process type"),
        ({"process_types": {"web server": "x"}}, "is no process type"),
        ({"process_types": {"web": "a\nworker: b"}}, "is no process type"),
        ({"process_types": {"#": "x"}}, "is no process type"),
        ({"process_types": {"web": 1}}, "Expected `str`"),
        ({"process_types": {f"t{number}": "x" for number in range(101)}}, "100 process types"),
        ({"process_types": {"web": "x"}, "checksum": "md5:0"}, "checksum: expected SHA256:"),
    ],
)
def test_what_cannot_be_a_slug(tmp_path: Path, body: object, message: str) -> None:
    with StoredApps(tmp_path) as apps:
        status, _, refused = apps.server.ask("POST", "/apps/shop/slugs", body=body)
        assert isinstance(refused, dict)
        assert status == 422
        assert message in refused["message"]


def test_a_slug_is_its_own_apps_alone(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        id_, _ = made(apps)
        assert apps.server.ask("GET", f"/apps/blog/slugs/{id_}")[0] == 404
        assert apps.server.ask("GET", "/apps/shop/slugs/nope")[0] == 404
        assert apps.server.ask("POST", "/apps/nope/slugs", body=BODY)[0] == 404


def test_a_source_is_uploaded_and_given_back(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        for where in ("/sources", "/apps/shop/sources"):
            status, _, source = apps.server.ask("POST", where)
            assert isinstance(source, dict)
            blob = source["source_blob"]
            assert status == 201
            assert send(apps, "GET", blob["get_url"])[0] == 404
            assert send(apps, "PUT", blob["put_url"], ARCHIVE)[0] == 200
            assert send(apps, "GET", blob["get_url"]) == (200, ARCHIVE)


def test_slugs_that_no_release_needs_are_removed_with_their_archives(tmp_path: Path) -> None:
    async def work(apps: StoredApps) -> None:
        app_id = apps.id_of("shop")
        slugs: list[Slug] = []
        for number in range(SLUGS_KEPT + 2):
            upload = apps.archives.receive_slug()
            upload.write(tarball({"number": str(number)}))
            received = upload.finish()
            upload.close()
            slug = await apps.store.slugs.add(app_id, new_slug(received.checksum, received.size), by=ME)
            slugs.append(slug)
            release = await apps.store.releases.add(app_id, drafting(slug.id), by=ME)
            assert release is not None
            await apps.store.releases.settle(app_id, release.version)
            await apps.slugs.folder_of(slug)
        old = (datetime.now(UTC) - timedelta(days=1)).timestamp()
        for path in (tmp_path / "slugs").iterdir():
            os.utime(path, (old, old))
        await apps.slugs.collect(app_id)
        kept = {slug.id for slug in await apps.store.slugs.of(app_id)}
        assert kept == {slug.id for slug in slugs[2:]}
        files = {path.name.removesuffix(".tgz") for path in (tmp_path / "slugs").iterdir()}
        assert files == {slug.checksum for slug in slugs[2:]}
        statuses = [release.status.value for release in reversed(await apps.store.releases.of(app_id))]
        assert statuses == ["expired", "expired", *["succeeded"] * SLUGS_KEPT]
        await apps.store.apps.destroy(app_id, by=ME)
        await apps.slugs.sweep()
        assert list((tmp_path / "slugs").iterdir()) == []

    with StoredApps(tmp_path) as apps:
        asyncio.run(work(apps))


def new_slug(checksum: str, size: int) -> Slug:
    now = datetime.now(UTC)
    return Slug(
        id="", app_id="", created_at=now, updated_at=now, process_types={}, stack="host", checksum=checksum, size=size
    )


def drafting(slug_id: str) -> Callable[[Release | None, object], Draft]:
    def draft(_base: Release | None, _all: object) -> Draft:
        return Draft(description="Deploy", plan="{}", slug_id=slug_id, config={})

    return draft
