"""What is a buildpack, and what is none."""

import pytest

from dynod.core.buildpack import MOST_BUILDPACKS, BuildpackRefusedError, buildpack_reference, read_buildpacks


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("heroku/python", "heroku/python"),
        (" heroku/nodejs ", "heroku/nodejs"),
        ("urn:buildpack:heroku/python", "heroku/python"),
        ("https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/go.tgz", "heroku/go"),
        ("https://github.com/me/buildpack.git#main", "https://github.com/me/buildpack.git#main"),
        ("git@github.com:me/buildpack.git", "git@github.com:me/buildpack.git"),
        ("file:///srv/buildpack", "file:///srv/buildpack"),
        ("https://example.com/b.tgz", "https://example.com/b.tgz"),
    ],
)
def test_names_and_urls(written: str, kept: str) -> None:
    assert buildpack_reference(written) == kept
    assert buildpack_reference(kept) == kept


@pytest.mark.parametrize(
    "written",
    ["", "python", "../python", "heroku/", "/etc/passwd", "heroku/py thon", "javascript:alert(1)", "a/" + "x" * 999],
)
def test_what_is_none(written: str) -> None:
    with pytest.raises(BuildpackRefusedError, match="is no buildpack"):
        buildpack_reference(written)


def test_a_list_keeps_its_order_and_has_each_once() -> None:
    assert read_buildpacks(["heroku/nodejs", "heroku/python"]) == ("heroku/nodejs", "heroku/python")
    with pytest.raises(BuildpackRefusedError, match="heroku/python is there already"):
        read_buildpacks(["heroku/python", "urn:buildpack:heroku/python"])
    with pytest.raises(BuildpackRefusedError, match=f"{MOST_BUILDPACKS} buildpacks, found {MOST_BUILDPACKS + 1}"):
        read_buildpacks([f"heroku/b{number}" for number in range(MOST_BUILDPACKS + 1)])
