"""What the daemon has its keeper tell systemd, as sd_notify(3) has it. Pure text; sending it is `keeper/notify`'s."""

from typing import Final

LEEWAY_S: Final = 10.0  # for what comes after the last dyno: the last lines, the store
LONGEST_STATUS: Final = 200  # characters of a refusal; all of it is in the log


def reloading(now_ns: int) -> str:
    """A reload begins; `now_ns` is CLOCK_MONOTONIC's."""
    return f"RELOADING=1\nMONOTONIC_USEC={now_ns // 1000}"


def reloaded(fault: str | None) -> str:
    """It is over, and was refused where there is a fault."""
    return f"READY=1\nSTATUS={_line(f'reload refused, old settings stay: {fault}') if fault else 'settings read again'}"


def not_upgraded(why: str) -> str:
    """Another version did not take over; the settings were read again."""
    return f"READY=1\nSTATUS={_line(why)}"


def upgrading(version: str) -> str:
    """Another version is started beside this one."""
    return f"STATUS={_line(f'upgrading to {version}')}"


def serving(apps: int) -> str:
    """In control."""
    return f"STATUS=serving {apps} app{'' if apps == 1 else 's'}"


def stopping(drain_s: float, longest_grace_s: float) -> str:
    """Requests in flight may take `drain_s`, then dynos their grace: systemd waits so long, whatever the unit says."""
    wait_us = int((drain_s + longest_grace_s + LEEWAY_S) * 1_000_000)
    return f"STOPPING=1\nSTATUS=stopping dynos\nEXTEND_TIMEOUT_USEC={wait_us}"


def _line(text: str) -> str:
    """No line break can begin another field."""
    flat = "; ".join(text.splitlines())
    return flat if len(flat) <= LONGEST_STATUS else f"{flat[: LONGEST_STATUS - 1]}…"
