"""A real receiver is told once of a crash loop, signed, and again until it takes the message."""

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.app_folder import toy
from support.serve import Serve
from support.up import eventually

pytestmark = pytest.mark.timeout(120)


class Receiver:
    """Answers with the given statuses, one after the other, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        waiting = list(statuses)
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((dict(self.headers.items()), body))
                self.send_response(waiting.pop(0) if waiting else 204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                del arguments

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=hidden"

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(*statuses)
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


def test_a_crash_loop_is_one_message_signed_and_tried_again(tmp_path: Path) -> None:
    with (
        receiving(503) as receiver,
        Serve(tmp_path / "state", toml="[dynos]\nrestart = [0, 0, 0, 1]\nsettle_s = 0\n") as serve,
    ):
        procfile = {"web": toy("web_server"), "worker": toy("exits_at_once"), "release": 'test -z "$BREAK"'}
        shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"web": 1})
        shop.wait_until_up("web.1")
        refused = serve.dynod("webhooks:add", "-i", "api:addon", "-l", "sync", "-u", receiver.url)
        assert (refused.returncode, "include must be some of" in refused.stderr) == (1, True)
        added = serve.done(
            "webhooks:add", "-i", "api:dyno,api:release", "-l", "sync", "-u", receiver.url, "-t", "Bearer x"
        )
        secret = added.stdout.strip()
        assert len(secret) == 64
        shop.scale("worker=1")
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from \S+ to crashed", count=3)
        eventually(lambda: len(receiver.got) == 2, what="the message, and once more")
        assert serve.dynod("config:set", "BREAK=1").returncode == 1
        eventually(lambda: len(receiver.got) == 3, what="the release")
        for headers, body in receiver.got:
            expected = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
            assert headers["Heroku-Webhook-Hmac-SHA256"] == expected
            assert headers["Authorization"] == "Bearer x"
        first, again, release = receiver.bodies()
        assert first == again
        assert (first["resource"], first["data"]["name"], first["data"]["state"]) == ("dyno", "worker.1", "crashed")
        assert first["data"]["app"]["name"] == "shop"
        assert (release["resource"], release["data"]["state"]) == ("release", "failed")
        deliveries = json.loads(serve.done("webhooks:deliveries", "--json").stdout)
        assert sorted((each["num_attempts"], each["status"]) for each in deliveries) == [
            (1, "succeeded"),
            (2, "succeeded"),
        ]
        (listed,) = json.loads(serve.done("webhooks", "--json").stdout)
        assert secret not in json.dumps(listed)
        events = serve.done("events").stdout
        assert "webhook.add" in events
        assert "hidden" not in events + "\n".join(shop.log())
        serve.done("webhooks:remove", listed["id"])
        assert json.loads(serve.done("webhooks", "--json").stdout) == []


def kill_core(serve: Serve) -> None:
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)


def test_a_killed_core_tells_nothing_again_and_forgets_no_message(tmp_path: Path) -> None:
    """The first message waits for a receiver that answers 503 when the core is killed; then the dyno crashes on."""
    with (
        receiving(503, 503) as receiver,
        Serve(tmp_path / "state", toml="[dynos]\nrestart = [0, 0, 0, 1]\nsettle_s = 0\n") as serve,
    ):
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("exits_at_once")}, quantities={"worker": 0})
        serve.done("webhooks:add", "-i", "api:dyno,api:release", "-l", "sync", "-u", receiver.url)
        shop.scale("worker=1")
        eventually(lambda: len(receiver.got) == 2, what="two tries; the third is five seconds away")
        kill_core(serve)
        eventually(lambda: len(receiver.got) == 3, what="the third try, by the next core")
        first, second, third = receiver.bodies()
        assert first == second == third
        eventually(lambda: "succeeded" in serve.done("webhooks:deliveries", "--json").stdout, what="its end")
        crashes = len([line for line in shop.log() if "to crashed" in line])
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from \S+ to crashed", count=crashes + 2)
        kill_core(serve)
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from \S+ to crashed", count=crashes + 4)
        assert json.loads(serve.done("webhooks:deliveries", "--json").stdout) == [], "no other message was made"
        assert len(receiver.got) == 3
