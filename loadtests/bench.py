"""`make bench`: every scenario that fits a quarter of an hour on two cores, one run, one file of results, one page.

    python -m loadtests.bench [SCENARIO ...] [--peers VENV/bin] [--installed VENV/bin/python] [--into FOLDER]
    python -m loadtests.bench --check [the same]    three rows again, against loadtests/results/results.json

Scenarios are programs of their own; this starts them one after the other with the counts below, collects what they
append, judges it by `bars`, and writes

    results/DATE-bench/figures.jsonl   every figure of every round
    results/DATE-bench/output.txt      what the scenarios printed, with their commands
    results/results.json               a row for each line of the design's table, and the counted ones from their logs
    results/report.html                the same as a page with plots, and what earlier runs said
    README.md                          a few of the rows

A contestant that is not installed is left out and named. A scenario that fails fails the bench; what the others found
is kept.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from loadtests.bars import Row, agrees, judge_all
from loadtests.bench_page import page
from loadtests.bench_readme import put_into
from loadtests.measured import Measured, describe_machine, read

HERE = Path(__file__).parent
ROOT = f"{HERE.parent}/"  # left out of what is kept: it is another one elsewhere
RESULTS = HERE / "results"
KEPT = RESULTS / "results.json"
COUNTED = RESULTS / "counted.toml"
README = HERE.parent / "README.md"
CHECKED = ("log-file-honcho", "ps-wall", "router-cpu-compiled")  # short, of three parts, and not mostly noise

Commands = Mapping[str, Sequence[Sequence[str]]]


def scenarios(peers: Path | None, installed: str = sys.executable) -> Commands:
    """The commands of each scenario, as modules of this package with their arguments."""
    dynod = ["--dynod", shlex.quote(str(Path(installed).with_name("dynod")))]
    supervisors = ["--peers", str(peers)] if peers and (peers / "supervisord").exists() else []
    honcho = ["--honcho", str(peers / "honcho")] if peers and (peers / "honcho").exists() else []
    foreman = ["--foreman", found] if (found := shutil.which("foreman")) else []
    return {
        "router-cpu": [["router_cpu", "--seconds", "2", "--rounds", "3"]],
        "router-latency": [
            ["router_latency", "--rate", "1000", "--rate", "4000", "--large-rate", "500", "--seconds", "2"]
        ],
        "router-bulk": [["router_bulk", "--rounds", "2"]],
        "router-scenes": [["router_scenes", "--seconds", "2", "--rounds", "2"]],
        "changes": [["changes", "--seconds", "6", "--rounds", "2"]],
        "log-pipeline": [["log_pipeline", *honcho, *foreman, "--lines", "4000000", "--rounds", "3"]],
        "cli": [["cli_latency", "--rounds", "20", "--python", installed]],
        "dynos": [
            ["dynos", "idle", *dynod, "--dynos", "50", "--rounds", "1", *supervisors],
            ["dynos", "start", *dynod, "--dynos", "500", "--rounds", "1", *supervisors],
            ["dynos", "idle", *dynod, "--dynos", "500", "--rounds", "1"],
            ["dynos", "restart", *dynod, "--rounds", "2", *supervisors],
            ["keeping_apart", "--dynos", "30", "--rounds", "2"],
            ["dynos", "takeover", *dynod, "--rounds", "2"],
        ],
    }


def check_scenarios(peers: Path | None, installed: str) -> Commands:
    """What the three rows of `--check` need."""
    all_of_it = scenarios(peers, installed)
    contestants = ["--proxy", "nginx", "--proxy", "dynod-router", "--scene", "varied"]
    return {
        "router-cpu": [["router_cpu", "--seconds", "2", "--rounds", "5", *contestants]],
        "log-pipeline": all_of_it["log-pipeline"],
        "cli": all_of_it["cli"],
    }


def run(commands: Commands, folder: Path, peers: Path | None) -> list[str]:
    """Run them one after the other, their figures and output into `folder`; returns what failed."""
    figures, output = folder / "figures.jsonl", folder / "output.txt"
    environment = dict(os.environ)
    if peers is not None:
        environment["PATH"] = f"{environment['PATH']}:{peers}"
    environment["PYTHONPATH"] = str(HERE.parent / "tests")  # scenarios with a whole daemon use the tests' own
    failed = []
    with output.open("ab", buffering=0) as log:
        for name, each in commands.items():
            for words in each:
                command = [sys.executable, "-m", f"loadtests.{words[0]}", *words[1:], "--json", str(figures)]
                said = f"\n$ python -m loadtests.{shlex.join(words)}\n".replace(ROOT, "")
                print(said, end="", flush=True)
                log.write(said.encode())
                began = time.monotonic()
                with subprocess.Popen(
                    command, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                ) as process:
                    assert process.stdout is not None
                    for line in process.stdout:
                        sys.stdout.write(line.decode(errors="replace"))
                        sys.stdout.flush()
                        log.write(line.replace(ROOT.encode(), b""))
                print(f"({name}: {time.monotonic() - began:.0f} s)", flush=True)
                if process.returncode:
                    failed.append(f"{shlex.join(words)} ended with {process.returncode}")
    return failed


def table(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [f"{'':24} {'figure':>10} {'spread':>19}  {'bar':16} met"]
    for row in rows:
        spread = f"{row.lowest:.4g} to {row.highest:.4g}"
        lines.append(f"{row.id:24} {row.figure:10.4g} {spread:>19}  {row.bar:16} {'yes' if row.met else 'NO'}")
    return "\n".join(lines)


def counted() -> list[dict[str, object]]:
    """Rows whose runs take longer than a bench: as their dated logs say."""
    with COUNTED.open("rb") as file:
        rows = tomllib.load(file)["row"]
    assert isinstance(rows, list)
    return rows


def absent(figures: Sequence[Measured]) -> list[str]:
    """Contestants that the design names and that are not among the figures."""
    wanted = ("nginx", "haproxy", "envoy", "caddy", "traefik", "aiohttp", "honcho", "foreman", "supervisord", "circus")
    return [name for name in wanted if all(row.contestant != name for row in figures)]


def bench(names: Sequence[str], peers: Path | None, installed: str, into: Path | None) -> int:
    chosen = {name: each for name, each in scenarios(peers, installed).items() if not names or name in names}
    folder = into or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-bench"
    folder.mkdir(parents=True)
    programs = [("nginx", "-v"), ("haproxy", "-v"), ("caddy", "version"), ("wrk", "-v"), ("foreman", "-v")]
    machine = describe_machine(programs)
    failed = run(chosen, folder, peers)
    figures = read(folder / "figures.jsonl")
    rows = judge_all(figures)
    print(f"\n{table(rows)}")
    if not names:
        command = "make bench"
        kept = {
            "machine": machine,
            "command": command,
            "not installed": absent(figures),
            "rows": [{**asdict(row), "commit": machine["commit"], "command": command} for row in rows],
            "counted": counted(),
        }
        for file in (folder / "results.json", KEPT):
            file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
        (RESULTS / "report.html").write_text(page(kept, figures, _earlier()))
        README.write_text(put_into(README.read_text(), kept))
        print(f"\nkept in {KEPT.relative_to(HERE.parent)} and {(RESULTS / 'report.html').relative_to(HERE.parent)}")
    for text in failed:
        print(f"FAILED: {text}")
    return 1 if failed else 0


def check(peers: Path | None, installed: str) -> int:
    """Whether three rows say again what is kept."""
    kept = {row["id"]: row for row in json.loads(KEPT.read_text())["rows"]}
    with tempfile.TemporaryDirectory(prefix="bench-check-") as text:
        failed = run(check_scenarios(peers, installed), Path(text), peers)
        now = {row.id: row for row in judge_all(read(Path(text) / "figures.jsonl"))}
    differ = list(failed)
    for name in CHECKED:
        if name not in now or name not in kept:
            differ.append(f"{name}: not measured {'now' if name in kept else 'then'}")
            continue
        fields = {key: value for key, value in kept[name].items() if key in Row.__dataclass_fields__}
        then = Row(**fields)
        same = agrees(then, now[name])
        print(
            f"{name:24} kept {then.figure:.4g} ({then.lowest:.4g} to {then.highest:.4g}), now {now[name].figure:.4g} "
            f"({now[name].lowest:.4g} to {now[name].highest:.4g}): {'agrees' if same else 'DIFFERS'}"
        )
        if not same:
            differ.append(name)
    for each in differ:
        print(f"DIFFERS: {each}")
    return 1 if differ else 0


def _earlier() -> list[dict[str, object]]:
    """What each dated run kept, oldest first."""
    return [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*-bench/results.json"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", help=f"some of: {', '.join(scenarios(None))}")
    parser.add_argument("--peers", type=Path, help="where the peers from PyPI are installed")
    parser.add_argument(
        "--installed", default=sys.executable, help="a Python that dynod is installed in, as by its users"
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--into", type=Path, help="a folder for what is measured, in place of a dated one")
    given = parser.parse_args()
    unknown = [name for name in given.scenario if name not in scenarios(None)]
    if unknown:
        parser.error(f"no scenario is called {unknown[0]}: there are {', '.join(scenarios(None))}")
    peers = given.peers.resolve() if given.peers else None
    installed = str(Path(given.installed).absolute())  # not resolved: a virtual environment's is a link
    return check(peers, installed) if given.check else bench(given.scenario, peers, installed, given.into)


if __name__ == "__main__":
    sys.exit(main())
