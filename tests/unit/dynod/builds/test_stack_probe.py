"""Which interpreter a path is now."""

from pathlib import Path

from dynod.builds.stack_probe import found_versions
from dynod.core.slug_manifest import Interpreter


def program(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


def test_each_says_its_version_itself_but_one_that_anybody_may_have_written(tmp_path: Path) -> None:
    """dynod may be root: what others can write to is not run, and not called missing either."""
    good = program(tmp_path / "good", "echo v22.3.0")
    broken = program(tmp_path / "broken", "echo v22.3.0; exit 1")
    anybodys = program(tmp_path / "anybodys", f"touch {tmp_path}/has-run; echo v1.0", 0o777)
    plain = program(tmp_path / "plain", "echo v1.0", 0o644)
    gone = str(tmp_path / "gone")
    paths = (good, broken, anybodys, plain, gone)
    found = found_versions(Interpreter(name="Node.js", version="22.3.0", path=path) for path in paths)
    assert found == {good: "22.3.0", broken: None, plain: None, gone: None}
    assert not (tmp_path / "has-run").exists()
