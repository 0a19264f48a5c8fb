"""Which buildpacks a build goes by, place by place."""

import pytest

from dynod.core.build_plan import Origin, plan_build, remembered
from dynod.core.buildpack import BuildpackRefusedError

LISTED, URL, MANIFEST, FILE = (
    ("heroku/go",),
    "https://h/x.git#v1",
    ("heroku/nodejs", "heroku/python"),
    "https://h/y.git\n",
)
BUILT_IN = ("heroku/ruby", "heroku/procfile")


@pytest.mark.parametrize(
    ("listed", "config", "manifest", "file", "is_first", "origin", "buildpacks"),
    [
        (LISTED, {"BUILDPACK_URL": URL}, MANIFEST, FILE, True, Origin.LIST, LISTED),
        ((), {"BUILDPACK_URL": URL}, MANIFEST, FILE, True, Origin.CONFIG, (URL,)),
        ((), {"LANGUAGE_PACK_URL": URL}, (), "", False, Origin.CONFIG, (URL,)),
        ((), {"BUILDPACK_URL": " "}, MANIFEST, FILE, True, Origin.MANIFEST, MANIFEST),
        ((), {}, MANIFEST, FILE, False, Origin.FILE, ("https://h/y.git",)),
        ((), {}, (), "# a comment\n\n", True, Origin.DETECTED, BUILT_IN),
        ((), {}, MANIFEST, "", False, Origin.DETECTED, BUILT_IN),
    ],
)
def test_the_nearest_word_counts(  # noqa: PLR0917 (a table's columns)
    listed: tuple[str, ...],
    config: dict[str, str],
    manifest: tuple[str, ...],
    file: str,
    is_first: bool,
    origin: Origin,
    buildpacks: tuple[str, ...],
) -> None:
    plan = plan_build(listed=listed, config=config, manifest=manifest, file=file, is_first=is_first, built_in=BUILT_IN)
    assert (plan.origin, plan.buildpacks) == (origin, buildpacks)


def test_what_is_no_buildpack_is_refused() -> None:
    with pytest.raises(BuildpackRefusedError, match="is no buildpack"):
        plan_build(listed=(), config={}, manifest=(), file="not a url", is_first=False, built_in=())


@pytest.mark.parametrize(
    ("origin", "used", "kept"),
    [
        (Origin.DETECTED, ("heroku/python",), ("heroku/python",)),
        (Origin.DETECTED, ("heroku/procfile",), ()),  # says nothing about the app
        (Origin.MANIFEST, MANIFEST, MANIFEST),
        (Origin.CONFIG, (URL,), ()),
        (Origin.FILE, (URL,), ()),
        (Origin.LIST, LISTED, ()),
    ],
)
def test_what_was_found_is_remembered(origin: Origin, used: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert remembered(origin, used) == kept
