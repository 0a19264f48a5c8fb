"""Which process types a changed file concerns."""

import pytest

from dynod.core.watch import concerned, is_ignored

COMMANDS = {
    "web": "gunicorn app.wsgi --log-file -",
    "worker": ".venv/bin/python work.py",
    "assets": "npm run build",
    "css": "tailwindcss --watch -i in.css",
    "dev": "uvicorn app:app --reload",
    "other": "./bin/server",
}


@pytest.mark.parametrize(
    ("path", "types"),
    [
        ("app/views.py", ["web", "worker", "other"]),
        ("templates/page.html", ["web", "worker", "assets", "other"]),
        ("src/index.ts", ["assets", "other"]),
        ("bin/server", ["other"]),
        ("picture.png", ["other"]),
        ("Procfile", []),
        (".env", []),
        ("app/.views.py.swp", []),
        ("node_modules/x/index.js", []),
        ("db.sqlite3-wal", []),
        (".git/HEAD", []),
    ],
)
def test_a_file_concerns_the_programs_that_are_made_of_such(path: str, types: list[str]) -> None:
    assert concerned([path], COMMANDS) == types


def test_several_files_concern_whom_each_concerns_once_and_in_order() -> None:
    assert concerned(["src/a.ts", "b.py", "c.py"], COMMANDS) == ["web", "worker", "assets", "other"]


@pytest.mark.parametrize("path", ["a.py~", "x/.#a.py", "a.pyc", "4913", "tmp/a.py", "run.pid"])
def test_what_editors_and_programs_leave_is_nobodys_source(path: str) -> None:
    assert is_ignored(path)
