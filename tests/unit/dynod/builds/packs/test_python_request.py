"""Which Python an app asks for, whether it gets it, and how its packages are installed."""

import json

import pytest

from dynod.builds.packs.core.python_packages import Manager, PackagePlan, environment_key, package_plan
from dynod.builds.packs.core.python_request import choose_python, python_request
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, read_version

PIPFILE_LOCK = json.dumps({"_meta": {"requires": {"python_version": "3.10"}}})
PIPFILE_LOCK_FULL = json.dumps({"_meta": {"requires": {"python_version": "3.10", "python_full_version": "3.10.13"}}})
POETRY = '[tool.poetry.dependencies]\npython = "^3.11"\n'
THERE = ["3.11.2", "3.9.18", "3.10.13", "3.12.1", "3.12.3"]


def versions(*names: str) -> list[Version]:
    return [v for name in names if (v := read_version(name)) is not None]


@pytest.mark.parametrize(
    ("files", "chosen", "file"),
    [
        ({}, "3.11.2", None),
        ({".python-version": "3.12\n"}, "3.12.3", ".python-version"),
        ({".python-version": "# ours\n\n3.12.1\n3.9\n"}, "3.12.1", ".python-version"),
        ({".python-version": "3.12.*"}, "3.12.3", ".python-version"),
        ({".python-version": "3"}, "3.11.2", ".python-version"),
        ({".python-version": "\n"}, "3.11.2", None),
        ({"runtime.txt": "python-3.10.13\n"}, "3.10.13", "runtime.txt"),
        ({"runtime.txt": "python-3.9", ".python-version": "3.12"}, "3.9.18", "runtime.txt"),
        ({"Pipfile.lock": PIPFILE_LOCK}, "3.10.13", "Pipfile.lock"),
        ({"Pipfile.lock": PIPFILE_LOCK_FULL}, "3.10.13", "Pipfile.lock"),
        ({"Pipfile.lock": "{}"}, "3.11.2", None),
        ({"Pipfile.lock": PIPFILE_LOCK, ".python-version": "3.9"}, "3.9.18", ".python-version"),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.9,<3.11"\n'}, "3.10.13", "pyproject.toml"),
        ({"pyproject.toml": POETRY}, "3.11.2", "pyproject.toml"),
        ({"pyproject.toml": "[tool.ruff]\n"}, "3.11.2", None),
        ({"uv.lock": 'version = 1\nrequires-python = "==3.9.*"\n'}, "3.9.18", "uv.lock"),
    ],
)
def test_the_python_that_is_asked_for_is_chosen(files: dict[str, str], chosen: str, file: str | None) -> None:
    request = python_request(files.get)
    assert (request.file if request else None) == file
    assert str(choose_python(request, versions(*THERE), kept=None)) == chosen


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({".python-version": "3.13"}, "Python 3.13 is asked for by .python-version|3.12.3|apt-get install python3.13"),
        (
            {".python-version": "3.12.2"},
            "3.12.1, 3.12.3|pyenv install 3.12.2|or ask for Python 3.12 in .python-version",
        ),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.14"\n'}, "Python >=3.14 is asked for by pyproject.toml"),
    ],
)
def test_where_it_is_not_there_the_build_says_what_to_install(files: dict[str, str], words: str) -> None:
    with pytest.raises(PackError) as refused:
        choose_python(python_request(files.get), versions(*THERE), kept=None)
    assert [word for word in words.split("|") if word not in str(refused.value)] == []


def test_where_there_is_no_python_at_all_it_is_named_too() -> None:
    with pytest.raises(PackError, match="python3-venv"):
        choose_python(None, [], kept=None)


@pytest.mark.parametrize("text", ["latest", "pypy3.10", "2.7", "3.x", "python-3.11-dev", "3.11.2.1", "-3.11", "3.1111"])
def test_what_is_no_version_is_refused_with_its_file(text: str) -> None:
    with pytest.raises(PackError, match=r"runtime\.txt"):
        python_request({"runtime.txt": text}.get)


def test_an_app_that_asks_for_none_keeps_the_one_that_it_has() -> None:
    there = versions(*THERE)
    assert str(choose_python(None, there, kept=read_version("3.10.13"))) == "3.10.13"
    assert str(choose_python(None, there, kept=read_version("3.8.1"))) == "3.11.2"
    request = python_request({".python-version": "3.12"}.get)
    assert str(choose_python(request, there, kept=read_version("3.12.1"))) == "3.12.1"
    assert str(choose_python(request, there, kept=read_version("3.10.13"))) == "3.12.3"


@pytest.mark.parametrize(
    ("names", "manager", "file", "passed_over"),
    [
        ("requirements.txt", Manager.PIP, "requirements.txt", ()),
        ("Pipfile Pipfile.lock requirements.txt", Manager.PIPENV, "Pipfile.lock", ("requirements.txt",)),
        ("requirements.txt poetry.lock pyproject.toml", Manager.PIP, "requirements.txt", ("poetry.lock",)),
        ("poetry.lock pyproject.toml", Manager.POETRY, "poetry.lock", ()),
        ("uv.lock pyproject.toml setup.py", Manager.UV, "uv.lock", ("setup.py",)),
        ("requirements.txt setup.py", Manager.PIP, "requirements.txt", ()),
        ("setup.py", Manager.PIP, "setup.py", ()),
    ],
)
def test_the_manager_whose_files_are_there(
    names: str, manager: Manager, file: str, passed_over: tuple[str, ...]
) -> None:
    plan = package_plan(names.split(), dict.fromkeys(names.split(), "").get)
    assert (plan.manager, plan.file, plan.passed_over) == (manager, file, passed_over)


@pytest.mark.parametrize(("names", "words"), [("pyproject.toml", "uv lock"), ("Pipfile", "pipenv lock")])
def test_without_a_lock_file_the_build_says_how_to_make_one(names: str, words: str) -> None:
    with pytest.raises(PackError, match=words):
        package_plan(names.split(), dict.fromkeys(names.split(), "").get)


@pytest.mark.parametrize(
    ("line", "fixed"),
    [
        ("Django==5.2", True),
        ("Django", True),
        ("# -e .", True),
        ("private @ https://example.com/private-1.0.whl", True),
        ("-e .", False),
        ("  --editable ./lib", False),
        ("./lib", False),
        ("../lib", False),
        ("git+https://example.com/x.git@main", False),
        ("x @ git+https://example.com/x.git", False),
        ("file:///opt/x.whl", False),
    ],
)
def test_what_can_change_behind_an_equal_line_is_installed_each_time(line: str, *, fixed: bool) -> None:
    assert package_plan(["requirements.txt"], {"requirements.txt": f"a==1\n{line}\n"}.get).fixed is fixed


FILES = {
    "requirements.txt": "-r deps/base.txt\n--constraint=limits.txt\n-r missing.txt\n",
    "deps/base.txt": "a\n-r base.txt\n-r ../other.txt\n-r ../../outside.txt\n",
    "limits.txt": "a<2",
    "other.txt": "b",
    "../outside.txt": "c",
}


def test_included_files_count_and_none_outside_of_the_app() -> None:
    plan = package_plan(["requirements.txt"], FILES.get)
    assert sorted(plan.files) == ["deps/base.txt", "limits.txt", "other.txt", "requirements.txt"]


def key(files: dict[str, str] = FILES, *, python: str = "3.11.2", settings: tuple[str, ...] = ()) -> str:
    plan: PackagePlan = package_plan(["requirements.txt"], files.get)
    return environment_key(plan, files.get, python=python, settings=settings)


def test_equal_files_python_and_settings_and_only_these_have_an_equal_key() -> None:
    others = [
        key({**FILES, "limits.txt": "a<3"}),
        key({**FILES, "requirements.txt": FILES["requirements.txt"] + "c==1\n"}),
        key(python="3.12.1"),
        key(settings=("PIP_INDEX_URL=http://x",)),
    ]
    assert key() == key(dict(reversed(FILES.items())))
    assert len({key(), *others}) == 1 + len(others)
