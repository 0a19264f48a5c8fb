"""The objects, member by member: golden, because scripts and Heroku's clients read them."""

from dynod.core.dyno import SlotState
from dynod.core.dyno_sizes import SIZES, UNSIZED
from dynod.platform_api import serializers
from support.api_server import APP, APP_ID, dyno_view, formation_view, id_of

APP_REF = {"id": APP_ID, "name": "shop"}


def test_formation() -> None:
    document = serializers.formation(formation_view("web", 2))
    assert document == {
        "app": APP_REF,
        "command": "gunicorn shop",
        "created_at": "2015-01-01T12:00:00Z",
        "dyno_size": {"id": serializers.fixed_id("dyno-size", "Unsized"), "name": "Unsized"},
        "id": id_of("web"),
        "quantity": 2,
        "size": "Unsized",
        "type": "web",
        "updated_at": "2015-01-02T03:04:05Z",
    }


def test_dyno() -> None:
    document = serializers.dyno(dyno_view("web.1", SlotState.CRASHED))
    assert document == {
        "app": APP_REF,
        "attach_url": None,
        "command": "gunicorn shop",
        "created_at": "2015-01-01T12:00:00Z",
        "dynod": {
            "pid": 4711,
            "port": 20_001,
            "restarting": False,
            "current_release": 0,
            "latest_release": 0,
            "why": [{"at": "2015-01-01T12:00:00Z", "what": "dynod up"}],
        },
        "id": id_of("web.1"),
        "name": "web.1",
        "release": {"id": serializers.fixed_id("release", f"{APP_ID}:0"), "version": 0},
        "size": "Unsized",
        "state": "crashed",
        "type": "web",
        "updated_at": "2015-01-02T03:04:05Z",
    }


def test_app() -> None:
    stack = {"id": serializers.fixed_id("stack", "host"), "name": "host"}
    assert serializers.app(APP, owner="ann") == {
        "acm": False,
        "archived_at": None,
        "build_stack": stack,
        "buildpack_provided_description": None,
        "created_at": "2015-01-01T12:00:00Z",
        "generation": {"id": serializers.fixed_id("generation", "cedar"), "name": "cedar"},
        "git_url": "",
        "id": APP_ID,
        "internal_routing": None,
        "maintenance": False,
        "name": "shop",
        "organization": None,
        "owner": {"email": "ann@localhost", "id": serializers.fixed_id("account", "ann")},
        "region": {"id": serializers.fixed_id("region", "local"), "name": "local"},
        "released_at": None,
        "repo_size": None,
        "slug_size": None,
        "space": None,
        "stack": stack,
        "team": None,
        "updated_at": "2015-01-02T03:04:05Z",
        "web_url": "http://127.0.0.1:5000/",
    }


def test_dyno_sizes() -> None:
    document = serializers.dyno_size(SIZES["Standard-2X"])
    assert (document["name"], document["memory"], document["compute"]) == ("Standard-2X", 1.0, 2)
    assert document["dynod"] == {"memory_bytes": 1024**3, "processes": 512}
    unsized = serializers.dyno_size(UNSIZED)
    assert unsized["memory"] == 0
    assert unsized["dynod"] == {"memory_bytes": None, "processes": None}
    assert len({str(serializers.dyno_size(size)["id"]) for size in SIZES.values()}) == len(SIZES)


def test_ids_of_fixed_things_never_change() -> None:
    """Clients keep them."""
    assert serializers.fixed_id("dyno-size", "Eco") == "3e3ff0e9-d295-5e8f-a7b2-59d24d7ca75e"
