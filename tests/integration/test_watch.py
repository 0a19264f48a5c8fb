"""`dynod up --watch` with real files: who is restarted, who is not, and what broken code does."""

from pathlib import Path

from support.app_folder import app_folder, toy
from support.up import Up, eventually

SERVER = """\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"VERSION")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def folder(tmp_path: Path) -> Path:
    return app_folder(
        tmp_path,
        procfile={"web": "python3 server.py", "worker": f"{toy('waits')} --watch"},
        files={"server.py": SERVER.replace("VERSION", "one")},
    )


def test_changed_code_is_served_and_broken_code_is_not(tmp_path: Path) -> None:
    with Up(app := folder(tmp_path), "--watch") as up:
        up.wait_until_up("web.1", "worker.1")
        worker = up.dyno_pids()["worker.1"]
        assert up.get("/").text == "one"
        (app / "server.py").write_text(SERVER.replace("VERSION", "two"))
        up.wait_for_line(r"server.py changed: restarting web$", stream="stderr")
        eventually(lambda: up.get("/").text == "two", what="the new code")

        (app / "server.py").write_text("this is no Python")
        up.wait_for_line(r"web\.1 goes on with its old process")
        assert up.get("/").text == "two"

        (app / "server.py").write_text(SERVER.replace("VERSION", "three"))
        eventually(lambda: up.get("/").text == "three", what="the mended code")
        assert up.dyno_pids()["worker.1"] == worker  # it watches for itself


def test_a_changed_procfile_is_said_to_need_a_new_start(tmp_path: Path) -> None:
    with Up(app := folder(tmp_path), "--watch") as up:
        up.wait_until_up("web.1")
        (app / "Procfile").write_text("web: python3 other.py\n")
        up.wait_for_line(r"Procfile has changed: it is read when dynod up starts", stream="stderr")
        assert up.get("/").text == "one"
