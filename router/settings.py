"""The router's knobs, each with a default and its source. Values only; `from_mapping` reads them from a TOML table.

Imports core enums and errors. Command-line names are in __main__.py.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

from router.core.balance import Balance
from router.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """Times in seconds, sizes in bytes. Every app may have its own copy (`Router.set_app(settings=...)`).

    What belongs to a client connection before its app is known (head, keep-alive, trusted proxies, buffers) is always
    taken from the router's own settings.
    """

    # Heroku, "HTTP Routing", Timeouts and Dyno connection behaviour
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 30.0
    enforce_first_byte: bool = True  # False: H12 is logged, the request goes on (contracts.md 8: a breakpoint in `up`)
    idle_timeout_s: float = 55.0  # rolling, reset by bytes in either direction
    boot_hold_s: float = 75.0
    request_deadline_s: float = 0.0  # whole request, tunnels excepted; 0: none

    head_timeout_s: float = 10.0  # from a head's first byte to its last
    keepalive_timeout_s: float = 60.0  # an idle client connection (vegur)
    trusted_keepalive_timeout_s: float = 180.0  # a proxy's pool; contracts.md 8
    continue_after_s: float = 1.0  # the router's own 100 when the dyno sends none; contracts.md 8
    linger_s: float = 2.0  # reading on after an early answer, so that a reset does not destroy it

    balance: Balance = Balance.P2C
    max_in_flight: int = 200  # per backend; 0: no cap
    max_queue: int = 1000  # waiting requests per app, whatever they wait for; beyond it H11
    queue_timeout_s: float = 30.0
    max_open: int = 0  # requests and tunnels of an app at once, beyond it H22; 0: no limit
    slow_start_s: float = 5.0
    retry_share: float = 0.2  # retries allowed per request, on average
    session_affinity: bool = False
    log_traceparent: bool = False  # at the end of the router line, which without it is Heroku's to the byte

    idle_reuse_s: float = 1.5  # how long an idle dyno connection may wait for a request; contracts.md 8
    idle_reuse_unsafe_s: float = 0.5  # the same for a request that could not be sent twice
    max_idle_links: int = 256  # per backend

    # Heroku, "HTTP Routing", HTTP validation and restrictions
    max_request_line: int = 8192
    max_field_line: int = 8192
    max_fields: int = 1000
    max_head: int = 65536
    max_answer_line: int = 524288
    max_answer_head: int = 1048576
    max_body: int = 0  # 413 beyond it; 0: no limit
    min_body_rate: int = 0  # bytes a second of a request body, on the whole; 0: any
    min_body_rate_after_s: float = 30.0  # from the request's head; before that a body may be as slow as it likes

    write_buffer: int = 65536  # per direction, before the reading side is paused
    max_connections: int = 0  # client connections; 0: what the descriptor limit allows
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    proxy_protocol: bool = False  # PROXY v1 from trusted peers, required then
    via_name: str = "dynod"
    error_page_url: str = ""
    maintenance_page_url: str = ""

    def __post_init__(self) -> None:
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise SettingsError(f"trusted_proxies: {network!r} is no address or network: {error}") from error
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                raise SettingsError(f"{item.name}: {value} is negative; expected 0 or more")
        if not self.via_name.isascii() or not self.via_name.replace("-", "").replace(".", "").isalnum():
            raise SettingsError(f"via_name: {self.via_name!r} is no token")

    @classmethod
    def from_mapping(cls, table: Mapping[str, object], *, base: Self | None = None) -> Self:
        """`base` (or the defaults) changed by a table such as TOML gives.

        Raises:
            SettingsError: for an unknown name or a value of the wrong type, naming it.

        """
        known = {item.name: item.default for item in fields(cls)}
        changes: dict[str, object] = {}
        for name, value in table.items():
            if name not in known:
                raise SettingsError(f"{name}: no such setting")
            changes[name] = _fitting(name, value, known[name])
        return replace(base if base is not None else cls(), **changes)  # type: ignore[arg-type]  # checked by _fitting


def _fitting(name: str, value: object, default: object) -> object:
    match default:
        case bool():
            if isinstance(value, bool):
                return value
            expected = "true or false"
        case Balance():
            if isinstance(value, str) and value in {item.value for item in Balance}:
                return Balance(value)
            expected = " or ".join(repr(item.value) for item in Balance)
        case int():
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            expected = "a whole number"
        case float():
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
            expected = "a number of seconds"
        case tuple():
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(value)
            expected = "a list of strings"
        case _:
            if isinstance(value, str):
                return value
            expected = "a string"
    raise SettingsError(f"{name}: expected {expected}, found {value!r}")
