"""What a backup must be for a state to be made of it; what it may be is shown with real daemons (test_backup)."""

import gzip
from pathlib import Path

import pytest

from dynod.backup_file import DATABASE, FORMAT, BackupError, Manifest, part_of, write_backup
from dynod.restore import restore
from dynod.store.store import NEWEST_SCHEMA, Store


class Collected:
    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes, /) -> None:
        self.content += data


def backup(folder: Path, *, schema: int = NEWEST_SCHEMA, format_: int = FORMAT) -> Path:
    """A backup without apps."""
    (folder / "source").mkdir(mode=0o700)
    Store.open(folder / "source").close()
    source = part_of(DATABASE, folder / "source" / DATABASE)
    manifest = Manifest(
        format=format_, dynod="99.1", schema=schema, made_at="2026-11-23", parts=[source.part], missing=[]
    )
    collected = Collected()
    write_backup(collected, manifest, [source])
    path = folder / "backup.tgz"
    path.write_bytes(collected.content)
    return path


def test_what_an_empty_daemon_had_is_a_state_again(tmp_path: Path) -> None:
    restore(backup(tmp_path), tmp_path / "new")
    Store.open(tmp_path / "new").close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / DATABASE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("newer", "said"),
    [
        ({"schema": NEWEST_SCHEMA + 1}, rf"schema {NEWEST_SCHEMA + 1}, .* restore it with dynod 99\.1"),
        ({"format_": FORMAT + 1}, rf"format {FORMAT + 1}"),
    ],
)
def test_what_a_newer_dynod_made_is_refused_and_nothing_is_touched(
    tmp_path: Path, newer: dict[str, int], said: str
) -> None:
    path = backup(tmp_path, **newer)
    before = path.read_bytes()
    (tmp_path / "new").mkdir()
    with pytest.raises(BackupError, match=said):
        restore(path, tmp_path / "new")
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["backup.tgz", "new", "source"]
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path) -> None:
    path = backup(tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    with pytest.raises(BackupError, match="is not empty"):
        restore(path, tmp_path / "new")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackupError, match="is not empty"):
        restore(path, tmp_path / "link")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["mine"]


def test_names_that_lead_elsewhere_are_in_no_backup(tmp_path: Path) -> None:
    path = backup(tmp_path)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b"state.db", b"../te.db")))
    with pytest.raises(BackupError, match="names what no backup holds"):
        restore(path, tmp_path / "new")
    assert not (tmp_path / "te.db").exists()
