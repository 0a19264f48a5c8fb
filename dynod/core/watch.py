"""Which process types a changed file concerns, for `dynod up --watch`.

A guess from what a command runs, made in one place: Python programs are restarted for what Python projects are made of,
Node's for theirs, and a program that this does not know for any file. Programs that watch for themselves are left
alone.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

SETTINGS_FILES: Final = ("Procfile", "app.json", ".env", "dynod.toml")  # read when dynod up starts, and not again

_IGNORED_FOLDERS: Final = frozenset(
    {
        *(".git", ".hg", ".svn", ".dynod", ".venv", "venv", "env", "node_modules", "__pycache__", ".mypy_cache"),
        *(".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".idea", ".vscode", ".cache", "tmp", "log"),
        *("logs", "dist", "build", "target", "staticfiles", "media", "coverage", "htmlcov"),
    }
)
_IGNORED_FILE: Final = re.compile(
    r".*(?:~|\.py[cod]|\.sw[a-z]|\.tmp|\.log|\.pid|\.sock|\.lock|\.bak|\.sqlite3?(?:-\w+)?|\.db(?:-\w+)?)|\.?#.*|4913"
)

_CONFIG: Final = (".json", ".toml", ".yaml", ".yml", ".ini", ".cfg")
_MARKUP: Final = (".html", ".htm", ".txt", ".xml", ".md")
_LANGUAGES: Final = (  # programs, the suffix of a script, what such projects are made of
    (
        r"python[0-9.]*|gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|celery|rq|flask|django-admin|uwsgi",
        ".py",
        (".py", ".pyi", ".jinja", ".jinja2", ".j2", ".mo", *_MARKUP, *_CONFIG),
    ),
    (
        r"node|npm|npx|yarn|pnpm|bun|deno|tsx|ts-node",
        ".js",
        (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx", ".ejs", ".pug", ".hbs", *_MARKUP, *_CONFIG),
    ),
    (
        r"ruby|bundle|rails|rake|puma|rackup|sidekiq|unicorn",
        ".rb",
        (".rb", ".ru", ".rake", ".erb", ".haml", ".slim", *_MARKUP, *_CONFIG),
    ),
    (r"php|php-fpm", ".php", (".php", ".twig", *_MARKUP, *_CONFIG)),
)
_WATCHES_ITSELF: Final = re.compile(
    r"(?:^|[\s/])(?:--reload|--watch(?:=\S+)?|runserver|nodemon|watchexec|entr|vite|air)(?:$|[\s:])"
)


def concerned(changed: Collection[str], commands: Mapping[str, str]) -> list[str]:
    """The process types, in order, that must be restarted for these files; paths are relative to the app's folder."""
    files = [path for path in changed if not is_ignored(path) and path not in SETTINGS_FILES]
    return [name for name, command in commands.items() if any(_concerns(path, command) for path in files)]


def is_ignored(path: str) -> bool:
    """Whether the file is nobody's source: version control, caches, packages, logs, databases, editors' leavings."""
    *folders, name = path.split("/")
    return not _IGNORED_FOLDERS.isdisjoint(folders) or _IGNORED_FILE.fullmatch(name) is not None


def _concerns(path: str, command: str) -> bool:
    if _WATCHES_ITSELF.search(command):
        return False
    words = re.findall(r"[^\s;&|()'\"]+", command)
    for programs, script, suffixes in _LANGUAGES:
        if any(re.fullmatch(rf"(?:.*/)?(?:{programs})", word) or word.endswith(script) for word in words):
            return path.endswith(suffixes)
    return True
