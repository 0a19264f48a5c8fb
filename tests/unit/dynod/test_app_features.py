"""Features, settings and buildpacks over the API and a real store: what is kept, said, refused, and when it counts."""

from pathlib import Path

import pytest

from dynod.core.app_features import FEATURES
from support.stored_apps import StoredApps


def on(apps: StoredApps, app: str = "shop") -> list[object]:
    _, _, documents = apps.server.ask("GET", f"/apps/{app}/features")
    assert isinstance(documents, list)
    return [document["name"] for document in documents if document["enabled"]]


def test_features_are_off_until_they_are_switched_on(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        status, _, documents = apps.server.ask("GET", "/apps/shop/features")
        assert status == 200
        assert isinstance(documents, list)
        assert {document["name"] for document in documents} == set(FEATURES)
        assert on(apps) == []
        id_ = documents[0]["id"]
        for ref in ("preboot", next(each["id"] for each in documents if each["name"] == "preboot")):
            status, _, switched = apps.server.ask("PATCH", f"/apps/shop/features/{ref}", body={"enabled": True})
            assert isinstance(switched, dict)
            assert (status, switched["name"], switched["enabled"]) == (200, "preboot", True)
        assert (on(apps), on(apps, "blog")) == (["preboot"], [])
        assert apps.server.ask("GET", f"/apps/shop/features/{id_}")[0] == 200
        assert [line.partition(" by user ")[0] for line in apps.said["shop"].lines] == ["Enable preboot feature"]
    with StoredApps(tmp_path) as again:
        assert on(again) == ["preboot"]
        again.server.ask("PATCH", "/apps/shop/features/preboot", body={"enabled": False})
        assert on(again) == []
        assert again.rerouted == [again.id_of("shop")]
        assert again.trail() == [("feature.on", "preboot"), ("feature.off", "preboot")]


@pytest.mark.parametrize(
    ("asked", "body", "status", "message"),
    [
        ("GET /apps/nope/features", None, 404, "Couldn't find that app."),
        ("GET /apps/shop/features/nope", None, 404, "Couldn't find that feature (nope)"),
        ("PATCH /apps/shop/features/prebot", {"enabled": True}, 404, 'did you mean "preboot"?'),
        ("PATCH /apps/shop/features/preboot", {}, 422, "missing required field `enabled`"),
        ("PATCH /apps/shop/features/preboot", {"enabled": 1}, 422, "Expected `bool`"),
        ("GET /account/features/preboot", None, 404, "Couldn't find that feature."),
        ("PATCH /apps/shop/settings", {"grace": "1"}, 422, "grace: no such setting"),
        ("PATCH /apps/shop/settings", {"grace_s": "long"}, 422, "grace_s: expected"),
        ("PATCH /apps/shop/settings", {"web.balance": "p2c"}, 422, "not of a process type"),
        ("PATCH /apps/shop/settings", {"balance": "random", "nope": None}, 422, "nope: no such setting"),
        ("PATCH /apps/shop/settings", {"grace_s": [1]}, 422, "Expected"),
        ("PATCH /apps/shop/settings", [], 422, "Expected `object`"),
        ("PUT /apps/shop/buildpack-installations", {"updates": [{"buildpack": "py"}]}, 422, '"py" is no buildpack'),
        ("PUT /apps/shop/buildpack-installations", {}, 422, "missing required field `updates`"),
        ("PUT /apps/nope/buildpack-installations", {"updates": []}, 404, "Couldn't find that app."),
    ],
)
def test_what_is_refused_changes_nothing(tmp_path: Path, asked: str, body: object, status: int, message: str) -> None:
    with StoredApps(tmp_path) as apps:
        answered, _, document = apps.server.ask(*asked.split(), body=body)
        assert isinstance(document, dict)
        assert answered == status
        assert message in document["message"]
        assert (apps.rerouted, apps.said["shop"].lines, apps.trail()) == ([], [], [])


def test_an_account_has_no_features(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        assert apps.server.ask("GET", "/account/features")[::2] == (200, [])


def test_settings_are_changed_all_or_none(tmp_path: Path) -> None:
    with StoredApps(tmp_path) as apps:
        wanted = {"worker.grace_s": 120, "enforce_first_byte": False, "balance": "random", "boot_timeout_s": "2m"}
        status, _, refused = apps.server.ask("PATCH", "/apps/shop/settings", body=wanted)
        assert isinstance(refused, dict)
        assert (status, apps.server.ask("GET", "/apps/shop/settings")[2]) == (422, {})
        wanted["boot_timeout_s"] = "90"
        status, _, after = apps.server.ask("PATCH", "/apps/shop/settings", body=wanted)
        expected = {
            "balance": "random",
            "boot_timeout_s": "90",
            "enforce_first_byte": "false",
            "worker.grace_s": "120",
        }
        assert (status, after) == (200, expected)
        assert apps.server.ask("PATCH", "/apps/shop/settings", body=expected)[2] == expected  # nothing is new
        assert apps.rerouted == [apps.id_of("shop")]
        _, _, after = apps.server.ask("PATCH", "/apps/shop/settings", body={"balance": None, "grace_s": 5})
        assert isinstance(after, dict)
        assert ("balance" in after, after["grace_s"]) == (False, "5")
        assert [line.partition(" by user ")[0] for line in apps.said["shop"].lines] == [
            "Set balance, boot_timeout_s, enforce_first_byte, worker.grace_s settings",
            "Set grace_s and Unset balance settings",
        ]
    with StoredApps(tmp_path) as again:
        assert again.server.ask("GET", "/apps/shop/settings")[2] == after


def test_buildpacks_are_a_list_that_is_replaced(tmp_path: Path) -> None:
    path = "/apps/shop/buildpack-installations"
    with StoredApps(tmp_path) as apps:
        assert apps.server.ask("GET", path)[::2] == (200, [])
        updates = [{"buildpack": "urn:buildpack:heroku/nodejs"}, {"buildpack": "https://example.com/b.git"}]
        status, _, installed = apps.server.ask("PUT", path, body={"updates": updates})
        expected = [
            {"ordinal": 0, "buildpack": {"name": "heroku/nodejs", "url": "heroku/nodejs"}},
            {"ordinal": 1, "buildpack": {"name": "https://example.com/b.git", "url": "https://example.com/b.git"}},
        ]
        assert (status, installed) == (200, expected)
    with StoredApps(tmp_path) as again:
        assert again.server.ask("GET", path)[2] == expected
        assert again.server.ask("PUT", path, body={"updates": []})[2] == []
        assert again.trail() == [("buildpacks.set", "heroku/nodejs https://example.com/b.git"), ("buildpacks.set", "")]
