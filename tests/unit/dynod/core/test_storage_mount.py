"""NAME:/path."""

import pytest

from dynod.core.storage_mount import StorageMount, StorageMountError


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("uploads:/app/media", "uploads", "/app/media"),
        ("data:/data", "data", "/data"),
        ("a.b-c_1:/var/lib/x/", "a.b-c_1", "/var/lib/x"),
        ("x://data//y", "x", "/data/y"),
    ],
)
def test_a_folder_of_an_app(text: str, name: str, path: str) -> None:
    mount = StorageMount.parse(text)
    assert (mount.name, mount.path) == (name, path)
    assert StorageMount.parse(str(mount)) == mount


@pytest.mark.parametrize(
    "text",
    [
        *("", "uploads", "uploads:", ":/data", "uploads:data", "../x:/data", "a/b:/data", ".x:/data", "Uploads:/data"),
        *("x:/", "x:/app", "x:/app/", "x:/tmp", "x:/usr/share/x", "x:/etc", "x:/data/../etc/x", "x:/proc/1", "x:/a:b"),
        *("x:/dev/shm", "x:/app\n", f"{'x' * 64}:/data"),
    ],
)
def test_what_is_no_folder_of_an_app(text: str) -> None:
    with pytest.raises(StorageMountError):
        StorageMount.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("/data", "/data", True),
        ("/data", "/data/x", True),
        ("/data/x", "/data", True),
        ("/data", "/database", False),
        ("/app/a", "/app/b", False),
    ],
)
def test_folders_that_lie_in_each_other(one: str, other: str, overlap: bool) -> None:
    assert StorageMount(name="a", path=one).overlaps(StorageMount(name="b", path=other)) is overlap
