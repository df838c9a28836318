"""What the kernel says of the clock of this machine: whether a time source disciplines it, and how wrong it is.

It is what chrony, ntpd and systemd-timesyncd tell the kernel; `man 2 adjtimex`. A container sees the machine's clock.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

STA_UNSYNC, STA_NANO, TIME_ERROR = 0x0040, 0x2000, 5
SOURCES = {
    "chrony": "run/chrony/chronyd.pid",
    "systemd-timesyncd": "run/systemd/timesync/synchronized",
    "ntpd": "run/ntpd.pid",
}
"""Where a running time source leaves a file."""
UNKNOWN = "unknown"


class Timex(ctypes.Structure):
    """`struct timex` of Linux, for 64 bits."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("pps", ctypes.c_long * 8),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The clock of this machine; `offset_s` is what the kernel still has to slew, `error_s` a bound of the error."""

    synchronized: bool
    source: str
    offset_s: float
    error_s: float


def server_clock(root: Path = Path("/")) -> ServerClock | None:
    """Ask the kernel. None: it does not say, as in a sandbox that forbids to ask."""
    timex = Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    return None if state < 0 else clock_of(state, timex, time_source(root))


def clock_of(state: int, timex: Timex, source: str) -> ServerClock:
    """What an answer of the kernel means. A clock that nothing disciplines has an error that grows without bound."""
    synchronized = state != TIME_ERROR and not timex.status & STA_UNSYNC
    unit = 1e-9 if timex.status & STA_NANO else 1e-6
    return ServerClock(synchronized, source, timex.offset * unit, timex.maxerror * 1e-6)


def time_source(root: Path = Path("/")) -> str:
    """The program that disciplines the clock, as far as this process can see it."""
    return next((name for name, path in SOURCES.items() if (root / path).exists()), UNKNOWN)
