"""From a request to a tunnel: whether a 101 was asked for, and the hand-over of both connections.

Flow: relay gets a 101 → `agreed` → `open_tunnel` → tunnel.py moves bytes → the record is finished when the tunnel ends,
with its whole life as service time, as Heroku logs it ("HTTP Routing", WebSockets).
"""

import asyncio
from time import perf_counter

from router.apps import RoutedApp
from router.core.backend import PooledBackend
from router.core.codes import Code
from router.core.request_record import RequestRecord
from router.relay_context import RelayContext
from router.tunnel import Tunnel


def agreed(offered: bytes, chosen: bytes) -> bool:
    """Whether the protocols that a 101 names are among those that the client offered (RFC 9110 section 7.8)."""
    mine, theirs = _protocols(offered), _protocols(chosen)
    return bool(mine) and bool(theirs) and theirs <= mine


def open_tunnel(
    context: RelayContext,
    *,
    app: RoutedApp,
    entry: PooledBackend,
    record: RequestRecord,
    client: asyncio.Transport,
    backend: asyncio.Transport,
    request_from: float,
    service_from: float,
) -> None:
    """Join the two connections. The claim becomes a tunnel's; what the record holds of bytes so far is added to.

    `request_from` and `service_from` are readings of `time.perf_counter`.
    """
    app.to_tunnel(entry)

    def ended(tunnel: Tunnel, idle: bool) -> None:
        context.tunnels.discard(tunnel)
        app.pool.end_tunnel(entry)
        app.open -= 1
        if idle:
            record.fail(Code.IDLE_CONNECTION)
        record.bytes_out = (record.bytes_out or 0) + tunnel.bytes_to_client
        record.bytes_in += tunnel.bytes_to_backend
        now = perf_counter()
        record.service_ms = (now - service_from) * 1000.0
        record.total_ms = (now - request_from) * 1000.0
        context.finished(record)
        context.connection_gone()

    tunnel = Tunnel(loop=context.loop, client=client, backend=backend, idle_s=app.settings.idle_timeout_s, on_end=ended)
    context.tunnels.add(tunnel)


def _protocols(value: bytes) -> set[bytes]:
    return {item.strip(b" \t").lower() for item in value.split(b",") if item.strip(b" \t")}
