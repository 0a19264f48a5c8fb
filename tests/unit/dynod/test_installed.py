"""Which version is installed, as `current` says."""

from pathlib import Path

from dynod.installed import core_program, other_version


def test_another_version_is_where_current_leads_to_another_folder(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    two.mkdir()
    assert other_version(one) is None, "no link: not laid out so"
    link = tmp_path / "current"
    link.symlink_to("1")
    assert other_version(one) is None
    assert other_version(two) == one
    link.unlink()
    link.symlink_to("2")
    assert other_version(one) == two
    assert core_program(two) == [str(two / "bin" / "python"), "-P", "-m", "dynod.daemon"]


def test_a_version_that_was_removed_is_still_another(tmp_path: Path) -> None:
    """Starting it fails, and that is what is said; nobody guesses."""
    (tmp_path / "current").symlink_to("gone")
    assert other_version(tmp_path / "1") == tmp_path / "gone"
