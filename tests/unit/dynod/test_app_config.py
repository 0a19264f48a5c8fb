"""Config vars and releases over the API and a real store: what makes a release, what it shows, what is refused."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dynod.core.api_access import needed_scope
from dynod.core.api_token import Scope
from dynod.core.release import Draft
from dynod.kept_notes import to_note
from dynod.serve_plan import ServePlan, declares_release
from support.api_server import ApiServer
from support.stored_apps import StoredApps

CANARY = "canary-4711"


def plan(**commands: str) -> str:
    return to_note(
        ServePlan(
            app="shop", folder="/srv/shop", commands=commands, first_quantities={}, manifest_env={}, healthchecks={}
        )
    )


def deployed(apps: StoredApps, *, config: Mapping[str, str] | None = None, **commands: str) -> int:
    """A release with code that is live."""
    version = apps.release("shop", Draft(description="Deploy 1", plan=plan(**commands), config=config or {}))
    apps.settle("shop", version)
    return version


def ask(apps: StoredApps, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, Any]:
    return apps.server.ask(method, f"/apps/shop{path}", body=body, headers=headers)


def test_a_change_is_one_release_and_one_that_changes_nothing_is_none(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        assert ask(apps, "GET", "/config-vars")[::2] == (200, {})
        status, headers, config = ask(apps, "PATCH", "/config-vars", {"A": "1", "B": "x\ny", "C": ""})
        assert (status, headers["dynod-release"], config) == (200, "1", {"A": "1", "B": "x\ny", "C": ""})
        status, headers, config = ask(apps, "PATCH", "/config-vars", {"A": "1", "Z": None})
        assert (status, "dynod-release" in headers, config) == (200, False, {"A": "1", "B": "x\ny", "C": ""})
        assert ask(apps, "PATCH", "/config-vars", {"A": None, "B": "2"})[2] == {"B": "2", "C": ""}
        assert ask(apps, "PUT", "/config-vars", {"D": "4"})[2] == {"D": "4"}
        assert ask(apps, "GET", "/config-vars")[2] == {"D": "4"}
        assert [each["description"] for each in ask(apps, "GET", "/releases")[2]] == [
            "Set A, B, C config vars",
            "Set B and remove A config vars",
            "Set D and remove B, C config vars",
        ]
        assert apps.said["shop"].lines[1].startswith("Release v1 created by user ")
        assert apps.trail()[0] == ("release.create", "v1 Set A, B, C config vars")


def test_the_config_is_that_of_the_newest_release_that_has_not_failed(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        ask(apps, "PATCH", "/config-vars", {"A": "1"})
        apps.settle("shop", 1)
        ask(apps, "PATCH", "/config-vars", {"A": "2"})
        assert ask(apps, "GET", "/config-vars")[2] == {"A": "2"}  # though it is not live yet
        ask(apps, "PATCH", "/config-vars", {"B": "1"})
        apps.settle("shop", 2, failure="web.1: process exited with status 1")
        assert ask(apps, "GET", "/config-vars")[2] == {"A": "1", "B": "1"}
        assert ask(apps, "GET", "/releases/v2/config-vars")[2] == {"A": "2"}
        failed = ask(apps, "GET", "/releases/2")[2]
        assert (failed["status"], failed["dynod"]["failure"]) == ("failed", "web.1: process exited with status 1")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"1A": "x"}, 422, "begins with no digit"),
        ({"A-B": CANARY}, 422, "letters, digits and _"),
        ({"A": f"{CANARY}\0"}, 422, "A: its value holds a NUL, which no environment can"),
        ({"A": CANARY * 8000}, 422, "all names and values of an app may have 65536"),
        ({"A": 1}, 422, "Expected `str | null`, got `int`"),
        ([CANARY], 422, "Expected `object`, got `array`"),
        (b'{"A": "' + CANARY.encode(), 400, "not valid JSON"),
    ],
)
def test_what_is_refused_changes_nothing_and_repeats_no_value(
    tmp_path: Path, body: object, status: int, message: str
) -> None:
    with StoredApps(tmp_path) as apps:
        refused = ask(apps, "PATCH", "/config-vars", body)
        assert (refused[0], refused[2]["id"]) == (status, "invalid_params" if status == 422 else "bad_request")
        assert message in refused[2]["message"]
        assert CANARY not in refused[2]["message"]
        assert ask(apps, "GET", "/releases")[2] == []
        assert (apps.said["shop"].lines, apps.trail()) == ([], [])


def test_a_release_member_by_member(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        version = apps.release(
            "shop", Draft(description="Deploy 1", plan=plan(web="w", release="r"), config={}, runs_command=True)
        )
        apps.settle("shop", version)
        release = ask(apps, "GET", "/releases/current")[2]
        assert release == {
            "addon_plan_names": [],
            "app": {"id": apps.id_of("shop"), "name": "shop"},
            "artifacts": [],
            "created_at": release["created_at"],
            "current": True,
            "description": "Deploy 1",
            "eligible_for_rollback": True,
            "id": release["id"],
            "oci_image": None,
            "output_stream_url": release["output_stream_url"],
            "slug": None,
            "status": "succeeded",
            "updated_at": release["updated_at"],
            "user": {"email": "me@localhost", "id": release["user"]["id"]},
            "version": 1,
            "dynod": {"failure": None, "phase": "wanted", "process_types": {"web": "w", "release": "r"}},
        }
        for ref in ("1", "v1", release["id"]):
            again = ask(apps, "GET", f"/releases/{ref}")[2]
            assert {**again, "output_stream_url": release["output_stream_url"]} == release
        address = f"http://localhost/blobs/release-output/{release['id']}/"
        assert release["output_stream_url"].startswith(address)
        for ref in ("2", "vv1", "latest", "01234567-89ab-cdef-0123-456789abcdef"):
            status, _, refused = ask(apps, "GET", f"/releases/{ref}")
            assert (status, refused["resource"]) == (404, "release")


def test_releases_come_in_pages_by_their_numbers(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        for number in range(12):
            ask(apps, "PATCH", "/config-vars", {"N": str(number)})
        status, headers, page = ask(apps, "GET", "/releases", Range="version ..; order=desc,max=3")
        assert (status, [each["version"] for each in page]) == (206, [12, 11, 10])
        status, _, page = ask(apps, "GET", "/releases", Range=headers["next-range"])
        assert (status, [each["version"] for each in page]) == (206, [9, 8, 7])
        assert [each["version"] for each in ask(apps, "GET", "/releases")[2]] == list(range(1, 13))


def test_a_rollback_copies_code_and_config_or_the_code_alone(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        deployed(apps, config={"A": "1"}, web="old", release="migrate")
        ask(apps, "PATCH", "/config-vars", {"A": "2"})
        apps.settle("shop", 2)
        status, _, made = ask(apps, "POST", "/releases", {"release": "v1"})
        assert (status, made["description"], made["status"]) == (201, "Rollback to v1", "pending")
        assert made["output_stream_url"] is not None  # the release command runs as for any release
        assert ask(apps, "GET", "/config-vars")[2] == {"A": "1"}
        apps.settle("shop", 3)
        made = ask(apps, "POST", "/releases", {"release": "2", "dynod": {"code_only": True}})[2]
        assert made["description"] == "Rollback to v2 (code only)"
        assert ask(apps, "GET", "/config-vars")[2] == {"A": "1"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"release": "v1"}, 422, "Cannot roll back to v1: it has no code."),
        ({"release": "v2"}, 422, "Cannot roll back to v2: it has failed."),
        ({"release": "v3"}, 422, "Cannot roll back to v3: it is not live yet."),
        ({"release": "v9"}, 404, "Couldn't find that release (v9); the newest is v"),
        ({}, 422, "expected"),
    ],
)
def test_what_cannot_be_gone_back_to_says_why(tmp_path: Path, body: object, status: int, message: str) -> None:
    with StoredApps(tmp_path) as apps:
        for number in (1, 2, 3):
            ask(apps, "PATCH", "/config-vars", {"N": str(number)})
        apps.settle("shop", 1)
        apps.settle("shop", 2, failure="no")
        refused = ask(apps, "POST", "/releases", body)
        assert refused[0] == status
        assert message in refused[2]["message"]
        assert len(ask(apps, "GET", "/releases")[2]) == 3


def test_a_purged_value_is_in_no_release_and_what_is_set_is_not_purged(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        ask(apps, "PATCH", "/config-vars", {"KEY": CANARY})
        apps.settle("shop", 1)
        status, _, refused = ask(apps, "POST", "/config-vars/KEY/actions/purge")
        assert (status, refused["message"]) == (
            422,
            "KEY is set: unset it first, and wait until that release is live.",
        )
        ask(apps, "PATCH", "/config-vars", {"KEY": None})
        assert ask(apps, "POST", "/config-vars/KEY/actions/purge")[0] == 422  # the one before may go on yet
        apps.settle("shop", 2)
        assert ask(apps, "POST", "/config-vars/KEY/actions/purge")[2] == {"name": "KEY", "releases": 1}
        assert ask(apps, "GET", "/releases/1/config-vars")[2] == {"KEY": ""}
        assert ask(apps, "POST", "/config-vars/KEY/actions/purge")[2] == {"name": "KEY", "releases": 0}
        assert apps.said["shop"].lines[-1].startswith("Purge KEY from 0 releases by user ")


def test_many_changes_at_once_all_hold(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:

        async def change_all() -> None:
            ways = [asyncio.to_thread(ask, apps, "PATCH", "/config-vars", {f"V{n}": str(n)}) for n in range(20)]
            for status, _, _config in await asyncio.gather(*ways):
                assert status == 200

        asyncio.run(change_all())
        assert ask(apps, "GET", "/config-vars")[2] == {f"V{n}": str(n) for n in range(20)}
        releases = ask(apps, "GET", "/releases")[2]
        assert [each["version"] for each in releases] == list(range(1, 21))


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("GET", "/config-vars", ".env"),
        ("PATCH", "/config-vars", ".env"),
        ("GET", "/releases", "Procfile"),
        ("POST", "/releases", "Procfile"),
    ],
)
def test_up_says_what_to_do_instead(method: str, path: str, instead: str) -> None:
    with ApiServer() as server:
        status, _, refused = server.ask(method, f"/apps/shop{path}", body={} if method != "GET" else None)
        assert isinstance(refused, dict)
        assert (status, refused["id"]) == (422, "invalid_params")
        assert refused["message"].startswith("This is dynod up")
        assert instead in refused["message"]


def test_only_who_may_deploy_sees_values() -> None:
    assert needed_scope("GET", "/apps/{app}/config-vars") is Scope.DEPLOY
    assert needed_scope("GET", "/apps/{app}/releases/{release}/config-vars") is Scope.DEPLOY
    assert needed_scope("PUT", "/apps/{app}/config-vars") is Scope.DEPLOY
    assert needed_scope("GET", "/apps/{app}/releases/{release}") is Scope.READ


def test_what_declares_a_release_command() -> None:
    assert declares_release(plan(web="w", release="r"))
    assert not declares_release(plan(web="w"))
    assert not declares_release(None)
