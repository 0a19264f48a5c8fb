"""Stacks that people run, with their usual traps: Node behind the router, an asset bundler, Python that buffers."""

import json
import shutil
from pathlib import Path

import pytest

from support import installed
from support.app_folder import app_folder, toy
from support.up import Up

pytestmark = pytest.mark.timeout(120)


def test_the_express_example_answers_from_both_dynos(tmp_path: Path) -> None:
    example = installed.node_folder("config/examples/express")
    ignored = shutil.ignore_patterns("node_modules", ".dynod")
    folder = shutil.copytree(example, tmp_path / "express", ignore=ignored)
    (folder / "node_modules").symlink_to(example / "node_modules")
    with Up(folder) as up:
        up.wait_until_up("web.1", "web.2")
        answers = [json.loads(up.get("/").body) for _ in range(40)]
        assert {answer["dyno"] for answer in answers} == {"web.1", "web.2"}
        assert {answer["client"] for answer in answers} == {"127.0.0.1"}
        assert up.stop() == 0
        up.wait_for_line(r"app\[web\.1\]: stopping: finishing the requests under way")


def test_a_bundler_that_watches_goes_on_under_a_terminal(tmp_path: Path) -> None:
    """esbuild --watch ends when its stdin does; under `dynod up` in a terminal its stdin stays open."""
    tools = installed.node_folder("tests/toys/node")
    bundler = "assets: esbuild in.js --outfile=out.js --watch\n"
    folder = app_folder(tmp_path, procfile=bundler, files={"in.js": "console.log(1)\n"})
    (folder / "node_modules").symlink_to(tools / "node_modules")
    with Up(folder, "--on-exit", "stop", terminal=True) as up:
        built = up.wait_for_line(r"app\[assets\.1\]: +\[watch\] build finished")
        (folder / "in.js").write_text("console.log(2)\n")
        up.wait_for_line(r"app\[assets\.1\]: +\[watch\] build finished", since=built.number + 1)
        assert "console.log(2)" in (folder / "out.js").read_text()
        up.type("\x03")
        assert up.wait() == 0


def test_a_print_before_a_long_sleep_is_shown_at_once(tmp_path: Path) -> None:
    """Python holds its output back when stdout is a pipe, unless PYTHONUNBUFFERED is set; the toy sleeps a minute."""
    folder = app_folder(tmp_path, procfile={"worker": toy("prints_then_sleeps")})
    with Up(folder) as up:
        up.wait_for_line(r"app\[worker\.1\]: x$", timeout_s=20)
