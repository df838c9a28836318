"""What code that sends messages may do: speak to public addresses, and read Python's own files. Nothing else.

Where a message goes is said by somebody who need not own this machine, to a library that knows 130 services, follows
names wherever they lead and can attach files. So it is not the URL that is checked but what is done: the interpreter
itself asks before a connection, a file or a program is opened (`sys.addaudithook`). A name that changes its address
between two looks, a redirect, and a host hidden in an option of the URL are all seen by that. It binds code that is
careless, not code that is hostile: that is free to do what it likes once it runs here.
"""

from __future__ import annotations

import functools
import mimetypes
import sys
import sysconfig
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH


@dataclass
class Confinement:
    """Of one message."""

    private: bool
    """Addresses that are not public are allowed."""
    refused: str = ""
    """What was tried."""


class AddressRefused(OSError):
    """So it is handled like a host that cannot be reached."""


_confined: ContextVar[Confinement | None] = ContextVar("confined", default=None)
NAT64 = ip_network("64:ff9b::/96")
PYTHONS = tuple(
    f"{Path(sysconfig.get_path(name)).resolve()}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
FILES = frozenset({*mimetypes.knownfiles, "/dev/null"})
PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
"""Begins of events."""


def confine(confinement: Confinement) -> None:
    """From here on, for what runs in this context."""
    _install()
    _confined.set(confinement)


def is_public(address: str) -> bool:
    """Whether it is an address of the internet, also under its other names in IPv6."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in NAT64:
            inner = ip_address(int(found) & 0xFFFF_FFFF)  # type: ignore[assignment]
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


@functools.cache
def _install() -> None:
    """Once: a hook stays for good."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    check = CHECKS.get(event)
    if check is None and not event.startswith(PROGRAMS):
        return
    confinement = _confined.get()
    if confinement is not None:
        refused = "a program" if check is None else check(confinement, *arguments)
        if refused:
            confinement.refused = confinement.refused or refused
            raise AddressRefused(f"{refused}: not for messages")


def _connection(confinement: Confinement, _: Any, address: Any) -> str:
    if not isinstance(address, tuple):
        return "a local socket"
    if confinement.private or is_public(str(address[0])):
        return ""
    return "an address that is not public (BIOGATE_NOTIFY_PRIVATE)"


def _message(confinement: Confinement, socket: Any, address: Any = None) -> str:
    return "" if address is None else _connection(confinement, socket, address)


def _file(_: Confinement, path: Any, *__: Any) -> str:
    if not isinstance(path, str | bytes):
        return ""  # of a descriptor that is open already
    name = path if isinstance(path, str) else path.decode(errors="replace")
    if name in FILES or str(Path(name).resolve()).startswith((*PYTHONS, *TZPATH)):
        return ""
    return "a file"


CHECKS: dict[str, Callable[..., str]] = {
    "socket.connect": _connection,
    "socket.sendto": _message,
    "socket.sendmsg": _message,
    "open": _file,
}
