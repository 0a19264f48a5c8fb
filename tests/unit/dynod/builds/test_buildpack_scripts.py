"""bin/release's YAML as plain values, and no more of it than is meant."""

import pytest

from dynod.builds.buildpack_scripts import load_release_document
from dynod.core.release_document import ReleaseDocumentError


@pytest.mark.parametrize(
    ("text", "loaded"),
    [
        ("", None),
        ("---\n", None),
        ('{"default_process_types": {"web": "x"}}', {"default_process_types": {"web": "x"}}),
        ("---\ndefault_process_types:\n  web: bin/x  # yes\n", {"default_process_types": {"web": "bin/x"}}),
    ],
)
def test_yaml_is_plain_values(text: str, loaded: object) -> None:
    assert load_release_document(text) == loaded


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1]\nb: *x\n", "alias"),
        ("!!python/object/apply:os.system [true]", "no YAML"),
        ("a: [", "no YAML"),
        ("[" * 5000, "no YAML"),
        ("a: b: c", "no YAML"),
    ],
)
def test_what_makes_much_of_little_or_runs_something_is_refused(text: str, why: str) -> None:
    with pytest.raises(ReleaseDocumentError, match=why):
        load_release_document(text)
