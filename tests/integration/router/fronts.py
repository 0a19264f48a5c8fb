"""Other people's proxies in front of the router, run from the very files of config/proxies.

A sample names app.example.com, ports 443 and 80, 127.0.0.1:5000 for dynod, and certificates in /etc; `sample` puts the
test's own in their place and nothing else, and fails where the sample has changed so that it would not.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from integration.router.bench import closed_port, own_address

from support import installed
from support.log_receivers import Certificates, certificates
from support.source_tree import REPOSITORY

SAMPLES: Final = REPOSITORY / "config" / "proxies"
CLIENT: Final = "127.0.0.9"  # where clients ask from: not where the proxy does, so that the two can be told apart
HOST: Final = "localhost"
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A proxy that runs: clients ask `https://address:port/` for `HOST`, or `http://address:plain_port/`."""

    address: str
    port: int
    plain_port: int
    tls: ssl.SSLContext
    command: tuple[str, ...]


def sample(name: str, changes: Mapping[str, str]) -> str:
    """A sample with other addresses and files in it; every one of `changes` must be in it."""
    text = (SAMPLES / name).read_text()
    for old, new in changes.items():
        assert old in text, f"config/proxies/{name} does not say {old!r}"
        text = text.replace(old, new)
    return text


@contextlib.asynccontextmanager
async def front(kind: str, folder: Path, router: int) -> AsyncIterator[Front]:
    """One of `FRONTS`, in front of the router at that port of 127.0.0.1; ended afterwards."""
    program, make = FRONTS[kind]
    path = installed.program(program)
    made = _prepare(folder)
    by_proxy_protocol = "proxy-protocol" in kind
    address = own_address()
    if by_proxy_protocol:
        _may_listen_on_443(address)  # the PROXY protocol tells HTTPS by that port alone
    port = _HTTPS if by_proxy_protocol else closed_port(address)
    plain_port = closed_port(address)
    arguments = make(folder, f"127.0.0.1:{router}", f"{address}:{port}", f"{address}:{plain_port}")
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(path, *arguments, stdout=said, stderr=said, env=environment)
    try:
        async with asyncio.timeout(20):
            await _listening(process, address, port, folder)
        yield Front(address=address, port=port, plain_port=plain_port, tls=made.trusting(), command=(path, *arguments))
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)


def _prepare(folder: Path) -> Certificates:
    folder.mkdir()
    for above in (folder, *folder.parents[:3]):
        above.chmod(above.stat().st_mode | 0o011)  # nginx's workers are another user's
    made = certificates(folder / "tls")
    (folder / "both.pem").write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made


async def _listening(process: asyncio.subprocess.Process, address: str, port: int, folder: Path) -> None:
    """None of them says that it is ready: ask until somebody is there."""
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise AssertionError((folder / "said").read_text())


def _may_listen_on_443(address: str) -> None:
    with socket.socket() as sock:
        try:
            sock.bind((address, _HTTPS))
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
            installed.missing("the right to listen on port 443 (root)")


def _nginx(folder: Path, router: str, https: str, http: str) -> list[str]:
    text = sample(
        "nginx.conf",
        {
            "127.0.0.1:5000": router,
            "listen 443 ssl;": f"listen {https} ssl;",
            "listen 80;": f"listen {http};",
            "/etc/ssl/app.example.com.pem": f"{folder}/tls/leaf.pem",
            "/etc/ssl/app.example.com.key": f"{folder}/tls/leaf.key",
            "app.example.com": HOST,
        },
    )
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 200; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {text}
}}
""")
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _caddy(folder: Path, router: str, https: str, http: str) -> list[str]:  # noqa: ARG001  # it redirects by itself
    address, _, port = https.rpartition(":")
    changes = {
        "127.0.0.1:5000": router,
        # Its own certificates need a name that the world can see: ours instead, and no port 80 of the machine's.
        "app.example.com {": f"{HOST}:{port} {{\n\tbind {address}\n\ttls {folder}/tls/leaf.pem {folder}/tls/leaf.key",
    }
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + sample("Caddyfile", changes))
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _haproxy(folder: Path, router: str, https: str, http: str) -> list[str]:
    changes = {
        "127.0.0.1:5000": router,
        "bind :443": f"bind {https}",
        "bind :80": f"bind {http}",
        "/etc/haproxy/app.example.com.pem": f"{folder}/both.pem",
    }
    (folder / "haproxy.cfg").write_text(sample("haproxy.cfg", changes))
    return ["-db", "-f", str(folder / "haproxy.cfg")]


def _haproxy_proxy_protocol(folder: Path, router: str, https: str, http: str) -> list[str]:  # noqa: ARG001  # one port
    changes = {
        "127.0.0.1:5000": router,
        "bind :443": f"bind {https}",
        "/etc/haproxy/app.example.com.pem": f"{folder}/both.pem",
    }
    (folder / "haproxy.cfg").write_text(sample("haproxy-proxy-protocol.cfg", changes))
    return ["-db", "-f", str(folder / "haproxy.cfg")]


def _haproxy_proxy_protocol_v2(folder: Path, router: str, https: str, http: str) -> list[str]:
    arguments = _haproxy_proxy_protocol(folder, router, https, http)
    path = folder / "haproxy.cfg"
    path.write_text(path.read_text().replace(f"{router} send-proxy", f"{router} send-proxy-v2"))
    return arguments


FRONTS: Final[Mapping[str, tuple[str, Callable[[Path, str, str, str], list[str]]]]] = {
    "nginx": ("nginx", _nginx),
    "caddy": ("caddy", _caddy),
    "haproxy": ("haproxy", _haproxy),
    "haproxy-proxy-protocol": ("haproxy", _haproxy_proxy_protocol),
    "haproxy-proxy-protocol-v2": ("haproxy", _haproxy_proxy_protocol_v2),
}
