"""`dynod ps` and its family against `dynod serve`, where apps are many: the same words as against `dynod up`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.serve import Serve, ServedApp

AGE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [+-]\d{4} \(~ \d+[smh] ago\)"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ServedApp]:
    with Serve(tmp_path / "state") as serve:
        serve.app(tmp_path, "other", procfile={"worker": toy("waits")}, quantities={"worker": 1})
        shop = serve.app(
            tmp_path,
            "shop",
            procfile={"web": toy("web_server"), "worker": toy("waits")},
            quantities={"web": 1, "worker": 2},
        )
        shop.wait_until_up("web.1", "worker.1", "worker.2")
        yield shop


def ps(shop: ServedApp, verb: str, *arguments: str) -> str:
    """What it prints, for this app."""
    ended = shop.serve.done(verb, "-a", shop.name, *arguments)
    return ended.stdout + ended.stderr


def test_every_verb_and_its_json(shop: ServedApp) -> None:
    serve, before = shop.serve, shop.pids()
    assert re.fullmatch(
        rf"=== web \(Unsized\): \S.*web_server.py \(1\)\n\nweb\.1: up {AGE}\n\n"
        rf"=== worker \(Unsized\): \S.*waits.py \(2\)\n\nworker\.1: up {AGE}\nworker\.2: up {AGE}\n\n",
        ps(shop, "ps"),
    )
    assert re.fullmatch(r"=== worker .*\n\nworker\.1: .*\nworker\.2: .*\n\n", ps(shop, "ps", "worker"))
    listed = json.loads(ps(shop, "ps", "--json"))
    assert [(dyno["name"], dyno["state"], dyno["app"]["name"]) for dyno in listed] == [
        (name, "up", "shop") for name in ("web.1", "worker.1", "worker.2")
    ]

    assert ps(shop, "ps:scale") == "web=1:Unsized worker=2:Unsized\n"
    assert ps(shop, "ps:scale", "web+1", "worker=1") == (
        "Scaling dynos... done, now running web at 2:Unsized, worker at 1:Unsized\n"
    )
    assert ps(shop, "ps:wait") == "Waiting for every dyno of ⬢ shop to be up... done\n"
    scaled = json.loads(serve.done("ps:scale", "-a", "shop", "worker-1", "--json").stdout)
    assert {entry["type"]: entry["quantity"] for entry in scaled} == {"worker": 0}, "what was changed, as Heroku has it"
    shop.wait_until_up("web.1", "web.2")
    assert shop.pids()["web.1"] == before["web.1"]

    ps(shop, "ps:scale", "worker=1")
    ps(shop, "ps:wait")
    before = shop.pids()
    assert ps(shop, "ps:restart", "worker.1") == "Restarting dyno worker.1 on ⬢ shop... done\n"
    ps(shop, "ps:wait")
    assert ps(shop, "ps:restart", "-p", "web") == "Restarting all web dynos on ⬢ shop... done\n"
    ps(shop, "ps:wait")
    between = shop.pids()
    assert not set(before.values()) & set(between.values())
    assert ps(shop, "ps:restart") == "Restarting all dynos on ⬢ shop... done\n"
    ps(shop, "ps:wait")
    assert not set(between.values()) & set(shop.pids().values())
    restarted = json.loads(serve.done("ps:restart", "-a", "shop", "web", "--json").stdout)
    assert restarted == {"app": "shop", "type": "web", "dyno": None}
    waited = json.loads(serve.done("ps:wait", "-a", "shop", "--json").stdout)
    assert {dyno["state"] for dyno in waited} == {"up"}


def test_a_stop_a_size_and_why(shop: ServedApp) -> None:
    serve, before = shop.serve, shop.pids()
    assert ps(shop, "ps:stop", "-d", "worker.1") == "Stopping dyno worker.1 on ⬢ shop... done\n"
    ps(shop, "ps:wait")
    assert shop.pids()["worker.1"] != before["worker.1"], "as on Heroku it comes back"
    stopped = json.loads(serve.done("ps:stop", "-a", "shop", "worker", "--json").stdout)
    assert stopped == {"app": "shop", "type": "worker", "dyno": None}
    ps(shop, "ps:wait")

    assert "worker  Standard-2X  2    1 GB" in ps(shop, "ps:type", "worker=standard-2x").splitlines()
    sizes = json.loads(serve.done("ps:type", "-a", "shop", "standard-1x", "--json").stdout)
    assert {entry["type"]: entry["size"] for entry in sizes} == {"web": "Standard-1X", "worker": "Standard-1X"}
    ps(shop, "ps:wait")
    assert {dyno["size"] for dyno in shop.dynos().values()} == {"Standard-1X"}

    why = ps(shop, "ps", "--why", "worker.1")
    assert re.match(rf"=== worker\.1: up {AGE}\n\nProcess: pid \d+, port \d+\nCommand: .*waits.py\n\n", why)
    assert "stopped by" in why
    as_json = json.loads(ps(shop, "ps", "--why", "worker.1", "--json"))
    assert [entry["what"] for entry in as_json["dynod"]["why"]] == [
        line.split("  ", 1)[1] for line in why.splitlines() if re.match(r"\d{4}/", line)
    ]
    refused = serve.dynod("ps", "-a", "shop", "--why", "nobody.1")
    assert (refused.returncode, refused.stdout) == (1, "")
    alone = serve.dynod("ps:stop", "-a", "shop")
    assert alone.returncode == 2
    assert "Please specify a process type or dyno name to stop." in alone.stderr
