"""The code of a slug is unpacked again wherever its folder is gone: at a start, and where a release goes back to it."""

import shutil
from pathlib import Path

import pytest

from support.serve import Serve, ServedApp
from support.tarballs import tarball
from support.up import eventually

pytestmark = pytest.mark.timeout(120)

SERVER = (Path(__file__).parents[1] / "toys" / "web_server.py").read_text()


def deploy(serve: Serve, parent: Path, name: str) -> None:
    """The app of this folder's name, from an archive."""
    folder = serve.folder_of(
        parent, f"{name}-code", procfile="web: python3 server.py\n", files={"server.py": SERVER, "name.txt": name}
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    archive = parent / f"{name}.tgz"
    archive.write_bytes(tarball(files))
    serve.done("builds:create", "-a", "shop", "--source-tar", str(archive))


def unpacked(serve: Serve) -> list[Path]:
    return [path for path in (serve.state / "slugs").iterdir() if path.is_dir()]


def code_of(app: ServedApp) -> str:
    """What the running web dyno was unpacked from."""
    return (Path(f"/proc/{app.pids()['web.1']}/cwd").resolve() / "name.txt").read_text()


def test_a_removed_folder_is_there_again_at_the_next_start_and_when_it_is_gone_back_to(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as first:
        first.wait_until_ready()
        first.done("apps:create", "shop")
        deploy(first, tmp_path, "one")
        deploy(first, tmp_path, "two")
        app = first.known_app("shop")
        eventually(lambda: app.states() == {"web.1": "up"} and code_of(app) == "two", what="the second one runs")
    for folder in unpacked(first):
        shutil.rmtree(folder)
    # Moved as well: the folder that the release names is nowhere.
    (tmp_path / "state").rename(tmp_path / "moved")
    with Serve(tmp_path / "moved", mark=first.mark) as second:
        second.wait_until_ready()
        app = second.known_app("shop")
        app.wait_until_up("web.1")
        assert app.get("/").status == 200
        assert code_of(app) == "two"
        assert len(unpacked(second)) == 1
        second.done("releases:rollback", "v3", "-a", "shop", "--yes")
        eventually(lambda: app.states() == {"web.1": "up"} and code_of(app) == "one", what="the first one runs")


def test_without_its_archive_an_app_is_there_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as first:
        first.wait_until_ready()
        first.done("apps:create", "shop")
        deploy(first, tmp_path, "one")
        first.known_app("shop").wait_until_up("web.1")
    shutil.rmtree(tmp_path / "state" / "slugs")
    with Serve(tmp_path / "state", mark=first.mark) as second:
        second.wait_until_ready()
        second.wait_for_line(r"shop: the code of v3 cannot be unpacked: The archive of this slug is not here\.")
        assert second.app_names() == ["shop"]
        app = second.known_app("shop")
        app.wait_until({"web.1": "crashed"})
        assert second.known_app("shop").get("/").status == 503
