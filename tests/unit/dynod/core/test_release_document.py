"""What bin/release may say."""

import pytest

from dynod.core.release_document import ReleaseDocument, ReleaseDocumentError, merged_types, read_release_document


@pytest.mark.parametrize("empty", [None, False, {}, {"other": 1}, {"default_process_types": None}])
def test_nothing_is_fine(empty: object) -> None:
    assert read_release_document(empty) == ReleaseDocument()


def test_texts_are_taken_and_numbers_made_texts() -> None:
    read = read_release_document(
        {
            "addons": ["heroku-postgresql", 1],
            "config_vars": {"PORT_BASE": 5000, "DEBUG": True},
            "default_process_types": {"web": "node server.js"},
        }
    )
    assert read == ReleaseDocument(
        process_types={"web": "node server.js"},
        config_vars={"PORT_BASE": "5000", "DEBUG": "true"},
        addons=("heroku-postgresql",),
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "no mapping"),
        ("web", "no mapping"),
        ({"default_process_types": ["web"]}, "default_process_types is no mapping"),
        ({"default_process_types": {"web": ["a"]}}, "what is no text"),
        ({"default_process_types": {"we b": "x"}}, "no process type"),
        ({"default_process_types": {"web": "a\nb: c"}}, "no process type"),
        ({"config_vars": {1: "x"}}, "what is no text"),
    ],
)
def test_anything_else_is_refused(document: object, why: str) -> None:
    with pytest.raises(ReleaseDocumentError, match=why):
        read_release_document(document)


def test_the_procfile_wins_by_name() -> None:
    merged = merged_types({"web": "mine", "release": "r"}, {"web": "theirs", "console": "c"})
    assert list(merged.items()) == [("web", "mine"), ("release", "r"), ("console", "c")]
