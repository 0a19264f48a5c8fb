"""Reading an app's folder: every fault of every file at once, and which file is used when."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from dynod.app_folder import (
    LARGEST_FILE,
    AppFolder,
    app_name,
    check_commands,
    folder_bins,
    inspect_app_folder,
    read_app_folder,
)
from dynod.errors import AppFolderError, ExitStatus
from support.app_folder import app_folder


def refusal(folder: Path, *, procfile: str | None = None, env_files: list[str] | None = None) -> list[str]:
    """The lines of the error that the folder is refused with."""
    with pytest.raises(AppFolderError) as refused:
        read(folder, procfile=procfile, env_files=env_files)
    assert refused.value.exit_status == ExitStatus.REFUSED
    return str(refused.value).splitlines()


def read(folder: Path, *, procfile: str | None = None, env_files: list[str] | None = None) -> AppFolder:
    return read_app_folder(
        folder,
        procfile=None if procfile is None else Path(procfile),
        env_files=None if env_files is None else [Path(name) for name in env_files],
    )


def commands(app: AppFolder) -> dict[str, str]:
    return {declared.name: declared.command for declared in app.types}


def merged(app: AppFolder) -> dict[str, str]:
    return {name: value for values in app.env_values for name, value in values.items()}


def test_a_folder_in_order(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        name="My Shop",
        procfile={"web": "gunicorn app", "worker": "python work.py"},
        env={"A": "1", "B": "x y"},
        app_json={"formation": {"worker": {"quantity": 2}}},
    )
    app = read(folder)
    assert app.folder == folder
    assert app.name == "my-shop"
    assert app.procfile == "Procfile"
    assert commands(app) == {"web": "gunicorn app", "worker": "python work.py"}
    assert app.manifest.quantities == {"worker": 2}
    assert merged(app) == {"A": "1", "B": "x y"}


def test_a_procfile_is_all_that_is_needed(tmp_path: Path) -> None:
    app = read(app_folder(tmp_path, procfile="web: x"))
    assert (app.dotenv, app.manifest.env) == ((), {})


def test_every_fault_of_every_file_is_in_the_one_error(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile="web: a\nweb2 b\nweb: c\n",
        env="A=1\nso what\n",
        files={"app.json": '{\n"formation": {"web": 1}\n}'},
    )
    assert refusal(folder) == [
        'Procfile line 2: expected "name: command", found "web2 b"',
        'Procfile line 3: process type "web" is declared on line 1 already',
        "app.json line 2: formation.web: expected an object, found a whole number",
        '.env line 2: expected "NAME=value", found no "="',
    ]


def test_no_procfile_says_what_to_write(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, files={"procfile.txt": "web: x"})
    (line,) = refusal(folder)
    assert line.startswith(f"Procfile: no such file in {folder}; write one")
    assert '"web: python app.py"' in line


@pytest.mark.parametrize("text", ["", "\n\n", "# web: x\n", "\ufeff\n"])
def test_an_empty_procfile_says_what_to_write(tmp_path: Path, text: str) -> None:
    (line,) = refusal(app_folder(tmp_path, procfile=text))
    assert line.startswith("Procfile: declares no process type; write a line for each")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == [f"no such folder: {tmp_path / 'nowhere'}"]
    file = tmp_path / "file"
    file.touch()
    assert refusal(file) == [f"{file} is not a folder"]
    assert refusal(file / "below") == [f"cannot open the folder {file / 'below'}: not a directory"]


def test_another_procfile(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: x", files={"Procfile.dev": "web: y\n", "config/Procfile": "web: z"})
    assert commands(read(folder, procfile="Procfile.dev")) == {"web": "y"}
    assert commands(read(folder, procfile="config/Procfile")) == {"web": "z"}
    assert commands(read(folder, procfile=str(folder / "Procfile.dev"))) == {"web": "y"}
    assert refusal(folder, procfile="Procfile.prod") == ["Procfile.prod: no such file"]


def test_a_formation_for_a_type_that_is_not_there(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile="web: x\nworker: y",
        files={
            "app.json": '{"formation": {"web": {"quantity": 1},\n"wroker": {"quantity": 2}}}',
            "Procfile.dev": "web: x",
        },
    )
    assert refusal(folder) == [
        'app.json line 2: formation.wroker: the Procfile declares no such process type; did you mean "worker"?'
    ]
    assert commands(read(folder, procfile="Procfile.dev")) == {"web": "x"}  # may declare fewer


def test_env_files_in_order_and_the_default_only_without_them(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path, procfile="web: x", env="A=default", files={"one": "A=1\nB=1", "two": "B=2\nC=2", "x,y": "D=4"}
    )
    assert merged(read(folder)) == {"A": "default"}
    assert merged(read(folder, env_files=["one"])) == {"A": "1", "B": "1"}
    assert merged(read(folder, env_files=["one", "two"])) == {"A": "1", "B": "2", "C": "2"}
    assert merged(read(folder, env_files=["two", "one"])) == {"A": "1", "B": "1", "C": "2"}
    assert merged(read(folder, env_files=["one, two"])) == {"A": "1", "B": "2", "C": "2"}
    assert merged(read(folder, env_files=["one,two", ".env"]))["A"] == "default"
    assert merged(read(folder, env_files=["x,y"])) == {"D": "4"}


def test_an_env_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: x", files={"one": "A=1"})
    assert merged(read(folder)) == {}
    assert refusal(folder, env_files=[".env"]) == [".env: no such file"]
    assert refusal(folder, env_files=["one,two", "three"]) == ["two: no such file", "three: no such file"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    folder = app_folder(tmp_path)
    (folder / "Procfile").mkdir()
    (folder / ".env").symlink_to("nowhere")
    (folder / "app.json").symlink_to("app.json")
    assert refusal(folder) == [
        "Procfile: cannot be read: is a directory",
        "app.json: cannot be read: too many levels of symbolic links",
        ".env: is a symbolic link to nothing",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: x", env="A=1")
    (folder / ".env").chmod(0)
    assert refusal(folder) == [".env: cannot be read: permission denied"]


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: x")
    assert refusal(folder, env_files=["/dev/zero"]) == [f"/dev/zero: is larger than {LARGEST_FILE} bytes"]


def test_an_env_file_may_be_a_pipe(tmp_path: Path) -> None:
    """`-e <(pass show env)` of a shell."""
    folder = app_folder(tmp_path, procfile="web: x")
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=(folder / "pipe").write_text, args=("A=1\n",))
    writer.start()
    try:
        assert merged(read(folder, env_files=["pipe"])) == {"A": "1"}
    finally:
        writer.join()


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (b"web: x\nworker: \xff\xfe\nclock: y", ["Procfile line 2: is not UTF-8 text"]),
        (b"web: x\r\n\xe9 y\r\n", ["Procfile line 2: is not UTF-8 text", "Procfile line 2: expected"]),
        ("web: x\n".encode("utf-16"), ["Procfile: is UTF-16 text; save it as UTF-8"]),
        (b"web: x\nworker: a\0b", ["Procfile line 2: contains a NUL byte"]),
    ],
)
def test_text_that_is_none(tmp_path: Path, content: bytes, faults: list[str]) -> None:
    lines = refusal(app_folder(tmp_path, files={"Procfile": content}))
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith(fault)


def test_files_from_windows(tmp_path: Path) -> None:
    app = read(
        app_folder(
            tmp_path,
            files={
                "Procfile": b"\xef\xbb\xbfweb: x\r\nworker: y\r\n",
                ".env": b"\xef\xbb\xbfA=1\r\nB='one\r\ntwo'\r\nC=3 # c\r\n",
                "app.json": b'\xef\xbb\xbf{\r\n"name": "x"\r\n}',
            },
        )
    )
    assert commands(app) == {"web": "x", "worker": "y"}
    assert merged(app) == {"A": "1", "B": "one\ntwo", "C": "3"}
    assert app.manifest.name == "x"


def test_inspection_gives_what_could_be_read(tmp_path: Path) -> None:
    app, faults = inspect_app_folder(app_folder(tmp_path, procfile="web: x\noops", env="A=1\noops"))
    assert commands(app) == {"web": "x"}
    assert merged(app) == {"A": "1"}
    assert [(fault.file, fault.line) for fault in faults] == [("Procfile", 2), (".env", 2)]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("shop", "shop"),
        ("My_Shop.com", "my-shop-com"),
        ("--x--", "x"),
        ("a" * 40, "a" * 30),
        ("a" * 29 + "_b", "a" * 29),
        ("été", "t"),
        ("日本", "app"),
        ("42", "42"),
    ],
)
def test_the_app_is_named_after_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    assert app_name(tmp_path / folder) == name


def test_the_root_folder_has_a_name_too() -> None:
    assert app_name(Path("/")) == "app"


def test_folder_bins_are_those_that_exist(tmp_path: Path) -> None:
    assert folder_bins(tmp_path) == ()
    (tmp_path / "node_modules/.bin").mkdir(parents=True)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/bin").touch()
    assert folder_bins(tmp_path) == (str(tmp_path / ".venv/bin"), str(tmp_path / "node_modules/.bin"))


def command_faults(parent: Path, command: str, *, files: Mapping[str, int], path: str = "bin") -> list[str]:
    """What `check_commands` says in a folder with these files (name → mode); `path` may be relative to it."""
    folder = app_folder(parent, procfile={"web": command})
    for name, mode in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(mode)
    return [str(fault) for fault in check_commands(read(folder), path=path.replace("FOLDER", str(folder)))]


@pytest.mark.parametrize(
    ("command", "files", "path"),
    [
        ("program", {"bin/program": 0o755}, "FOLDER/bin"),
        ("program", {"bin/program": 0o755}, "/nowhere::bin"),
        ("program", {"program": 0o755}, "/nowhere:"),
        ("program", {"one/program": 0o644, "two/program": 0o755}, "FOLDER/one:FOLDER/two"),
        ("./program", {"program": 0o755}, "/nowhere"),
        ("bin/program x", {"bin/program": 0o755}, "/nowhere"),
        ("FOO=1 program $X", {"bin/program": 0o755}, "FOLDER/bin"),
        ("/bin/sh", {}, "/nowhere"),
        ("cd nowhere && nothing", {}, "/nowhere"),
        ("nothing || true", {}, "/nowhere"),
        ("$NOTHING", {}, "/nowhere"),
    ],
)
def test_commands_that_are_there_or_may_be(tmp_path: Path, command: str, files: dict[str, int], path: str) -> None:
    assert command_faults(tmp_path, command, files=files, path=path) == []


@pytest.mark.parametrize(
    ("command", "files", "message"),
    [
        ("program", {}, 'command "program" not found on the PATH of the dyno'),
        ("FOO=1 program > f", {}, 'command "program" not found on the PATH of the dyno'),
        ("program", {"program": 0o755}, 'command "program" not found on the PATH of the dyno'),
        ("program", {"bin/program": 0o644}, 'command "program" is not executable: {folder}/bin/program'),
        ("./program", {}, 'command "./program" not found in {folder}'),
        ("bin/program", {"bin/program": 0o644}, 'command "bin/program" is not executable; try "chmod +x bin/program"'),
        ("./bin", {"bin/program": 0o755}, 'command "./bin" is a folder'),
        ("/no/where", {}, 'command "/no/where" not found in /no'),
    ],
)
def test_commands_that_cannot_work(tmp_path: Path, command: str, files: dict[str, int], message: str) -> None:
    expected = message.format(folder=tmp_path / "app")
    assert command_faults(tmp_path, command, files=files) == [f"Procfile line 1: web: {expected}"]
