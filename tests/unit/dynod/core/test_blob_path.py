"""Addresses open for whoever was told them, in their time, and for nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.blob_path import BlobPath, Purpose, read, write

KEY = b"k" * 32
PATH = BlobPath(Purpose.SLUG_PUT, "0f3c", 1000, "-")


def test_what_was_written_is_read_until_it_is_over() -> None:
    for purpose in Purpose:
        path = BlobPath(purpose, "0f3c", 1000, "ab")
        assert read(write(path, KEY), KEY, now=999.9) == path
        assert read(write(path, KEY), KEY, now=1000) is None
    assert read(write(PATH, KEY), b"other" * 7, now=0) is None


@pytest.mark.parametrize(
    "change",
    [
        ("slug-put", "slug-get"),
        ("0f3c", "0f3d"),
        ("/1000/", "/9000/"),
        ("/-/", "/ab/"),
        ("/1000/", "/٣/"),
        ("/1000/", f"/{'9' * 5000}/"),
        ("/blobs/", "/blob/"),
        ("/-/", "/-/-/"),
    ],
)
def test_an_address_that_was_changed_opens_nothing(change: tuple[str, str]) -> None:
    text = write(PATH, KEY)
    assert change[0] in text
    assert read(text.replace(*change, 1), KEY, now=0) is None


@given(st.text())
def test_any_other_text_opens_nothing(text: str) -> None:
    assert read(text, KEY, now=0) is None
    assert read(f"/blobs/{text}", KEY, now=0) is None
    assert read(f"/blobs/slug-put/0f3c/1000/-/{text}", KEY, now=0) is None
