"""What a build leaves is read as what anybody may have written."""

import json
import os
from pathlib import Path

import pytest

from dynod.builds.work import RESULT, SLUG, BuildResult, open_slug, read_result, write_result

GOOD = {"ok": True, "description": "x", "origin": "LIST", "buildpacks": ["a"], "process_types": {"web": "x"}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    result = BuildResult(ok=True, description="Go", origin="LIST", buildpacks=("a", "b"), process_types={"web": "x"})
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result
    write_result(tmp_path, BuildResult(ok=False))
    assert read_result(tmp_path) == BuildResult(ok=False)


@pytest.mark.parametrize(
    "document",
    [
        [],
        "ok",
        {**GOOD, "description": 1},
        {**GOOD, "origin": None},
        {**GOOD, "buildpacks": "a"},
        {**GOOD, "buildpacks": [1]},
        {**GOOD, "process_types": None},
        {**GOOD, "process_types": {"web": 1}},
    ],
)
def test_what_is_malformed_is_no_result(tmp_path: Path, document: object) -> None:
    (tmp_path / RESULT).write_text(json.dumps(document))
    assert read_result(tmp_path) is None


def test_no_link_is_followed_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(json.dumps(GOOD))
    (tmp_path / RESULT).symlink_to(tmp_path / "secret")
    (tmp_path / SLUG).symlink_to(tmp_path / "secret")
    assert read_result(tmp_path) is None
    with pytest.raises(OSError, match="symbolic"):
        open_slug(tmp_path)
    for name in (RESULT, SLUG):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
    assert read_result(tmp_path) is None
    with pytest.raises(OSError, match="is no file"):
        open_slug(tmp_path)
