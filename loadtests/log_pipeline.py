"""Lines per second from a dyno's stdout to dynod's stdout, beside honcho's and foreman's, in one run.

    python -m loadtests.log_pipeline [--honcho PATH] [--foreman PATH] [--lines 2000000] [--rounds 3] [--json FILE]
    python -m loadtests.log_pipeline --micro                                              framing and formatting alone

A child (peers/flooding_dyno.py) writes numbered lines of 60 bytes in large writes, as fast as it can. `dynod up` runs
it as its users would, keeper and all; the pipeline's process (--pipeline) is pump, stream and stdout alone. Rate: lines
divided by the time that N lines take beyond the time that one line takes, so that starting up does not count; the CPU
per line is that of the tool and of the child together.
The output is checked: every line there, in order.
"""

import argparse
import asyncio
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import timeit
from importlib.metadata import version
from pathlib import Path

import uvloop

from dynod.core.log_frame import frame
from dynod.core.log_line import LogBatch
from dynod.core.log_text import FullText
from dynod.logs.pump import OutputPump
from dynod.logs.stdout_sink import StdoutSink
from dynod.logs.stream import LogStream
from loadtests.measured import Figures
from loadtests.peers.flooding_dyno import LINE

FLOOD = Path(__file__).parent / "peers" / "flooding_dyno.py"
PS = "web.1"
NUMBER = re.compile(rb"^.*[:|] line (\d{9}) of a dyno that has rather a lot to say just now$", re.MULTILINE)


async def pipeline(lines: int) -> None:
    """The smallest composition of pump, stream and stdout around one child."""
    loop = asyncio.get_running_loop()
    sink = StdoutSink(loop, on_room=lambda: pump.resume(), on_closed=lambda _: None)  # noqa: PLW0108 - pump comes later
    stream = LogStream(sink, clock=time.time)
    pump = OutputPump(loop, publish=stream.publish_app)
    sink.start()
    out_end, in_end = os.pipe()
    process = subprocess.Popen(  # noqa: ASYNC220 - blocks before there is anything to wait for
        [sys.executable, str(FLOOD), str(lines)], stdin=subprocess.DEVNULL, stdout=in_end
    )
    os.close(in_end)
    pump.add("instance", PS, out_end)
    await asyncio.to_thread(process.wait)
    await pump.finish("instance")
    await sink.flush_and_close(60.0)
    await pump.close()


def command(tool: str, lines: int, folder: Path) -> list[str]:
    """The command line that carries `lines` lines through `tool`; another program's is a path."""
    if tool == "pipeline":
        return [sys.executable, "-m", "loadtests.log_pipeline", "--pipeline", "--lines", str(lines)]
    procfile = folder / "Procfile"
    procfile.write_text(f"web: exec {sys.executable} {FLOOD.resolve()} {lines}\n")
    if tool == "dynod up":
        return [sys.executable, "-m", "dynod", "up", "-C", str(folder), "--on-exit", "stop"]
    return (
        [tool, "start", "-f", str(procfile)] if Path(tool).name == "foreman" else [tool, "-f", str(procfile), "start"]
    )


def run(tool: str, lines: int, target: str) -> tuple[float, float]:
    """Wall and CPU seconds of one run into a file or a pipe, its output checked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        if target == "file":
            with (folder / "out").open("wb") as out:
                subprocess.run(command(tool, lines, folder), stdout=out, stderr=subprocess.DEVNULL, check=True)
            wall = time.perf_counter() - start
            check((folder / "out").read_bytes(), lines)
        else:
            with subprocess.Popen(
                command(tool, lines, folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                chunks = []
                while chunk := os.read(process.stdout.fileno(), 1 << 20):
                    chunks.append(chunk)
            wall = time.perf_counter() - start
            check(b"".join(chunks), lines)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def check(output: bytes, lines: int) -> None:
    found = (
        [int(line.split(b": line ", 1)[1][:9]) for line in output.split(b"\n") if b": line " in line] if lines else []
    )
    if not found:  # honcho writes "name  | line"
        found = [int(line.split(b"| line ", 1)[1][:9]) for line in output.split(b"\n") if b"| line " in line]
    if found != list(range(lines)):
        raise SystemExit(f"output is not whole: {len(found)} of {lines} lines")


def compare(peers: dict[str, str], lines: int, rounds: int, figures: Figures) -> None:
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, uvloop {version('uvloop')}"
    )
    print(f"lines of {len(LINE % 0)} bytes; median of {rounds} rounds")
    for target in ("file", "pipe"):
        tools = {"pipeline": ("pipeline", lines), "dynod up": ("dynod up", lines)}
        tools |= {peer: (path, max(lines // 10, 1)) for peer, path in peers.items()}
        ones = {name: min(run(tool, 1, target)[0] for _ in range(rounds)) for name, (tool, _lines) in tools.items()}
        for _ in range(rounds):
            for name, (tool, count) in tools.items():
                wall, cpu = run(tool, count, target)
                figures.add(f"log lines to a {target}", name, "throughput", "lines/s", count / (wall - ones[name]))
                figures.add(f"log lines to a {target}", name, "cpu", "µs/line", cpu / count * 1e6)
    medians = {row.key: row.median for row in figures.rows()}
    for (scenario, name, measure), rate in medians.items():
        if measure == "throughput":
            cpu = medians[scenario, name, "cpu"]
            ratio = f"; dynod up: {medians[scenario, 'dynod up', measure] / rate:.1f} times" if name in peers else ""
            print(f"{scenario:20} {name:9} {rate:12,.0f} lines/s, {cpu:.2f} µs CPU a line{ratio}")


def micro() -> None:
    """What whole-batch operations are worth, against a plain loop over lines."""
    count = 64 * 1024 // len(LINE % 0)
    data = LINE * count % tuple(range(count))
    text = FullText()
    batch = LogBatch(time=1_700_000_000.25, source="app", ps=PS, text=frame(data).text)
    prefix = b"2023-11-14T22:13:20.250000+00:00 app[web.1]: "

    def by_line() -> bytes:
        return b"\n".join([line.rstrip(b"\r")[:10_000] for line in data.split(b"\n")])

    def prefix_by_line() -> bytes:
        return b"".join([prefix + line + b"\n" for line in batch.text[:-1].split(b"\n")])

    for name, function in (
        ("frame", lambda: frame(data)),
        ("frame, a loop over lines", by_line),
        ("format", lambda: text.format(batch)),
        ("format, a loop over lines", prefix_by_line),
    ):
        best = min(timeit.repeat(function, number=200, repeat=5)) / 200
        print(f"{name:28} {best * 1e6:8.1f} µs for {len(data):,} bytes in {batch.line_count} lines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--honcho", help="path of honcho's executable, installed in a venv of its own")
    parser.add_argument("--foreman", help="path of foreman's executable (Debian: ruby-foreman)")
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    for mode in ("pipeline", "micro"):
        parser.add_argument(f"--{mode}", action="store_true")
    asked = parser.parse_args()
    if asked.pipeline:
        uvloop.run(pipeline(asked.lines))
    elif asked.micro:
        micro()
    else:
        given = {"honcho": asked.honcho, "foreman": asked.foreman}
        figures = Figures()
        compare({name: path for name, path in given.items() if path is not None}, asked.lines, asked.rounds, figures)
        figures.append_to(asked.json)


if __name__ == "__main__":
    main()
