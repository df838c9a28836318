"""Confines the code that sends messages: it may connect to public addresses and read Python's own files, nothing else.

A person who need not own this machine gives the URL, and a library that knows 130 services, follows names wherever they
lead and can attach files gets it. So the check is not on the URL but on what is done: the interpreter itself asks
before it opens a connection, a file or a program (`sys.addaudithook`). That covers a name that changes its address
between two look-ups, a redirect, and a host hidden in an option of the URL. It binds careless code, not hostile code:
code that runs here with bad intent can do what it likes.
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
    """The confinement of one message."""

    private: bool
    """Whether addresses that are not public are allowed."""
    refused: str = ""
    """The first thing that was refused."""


class AddressRefused(OSError):
    """Raised for a refused address, file or program: an OSError, which libraries handle like a dead host."""


_confined: ContextVar[Confinement | None] = ContextVar("confined", default=None)
NAT64 = ip_network("64:ff9b::/96")
UNICAST = ip_network("2000::/3")
"""All that IANA has given out of IPv6 for the internet. What lies beyond is for plants, links and translators, such as
64:ff9b:1::/48 and fec0::/10."""
SPECIAL = tuple(map(ip_network, ("192.88.99.0/24", "3fff::/20")))
"""For relays and documentation, which not every Python knows."""
PYTHONS = tuple(
    f"{Path(place).resolve()}/"
    for place in (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), sys.pycache_prefix)
    if place is not None
)
FILES = frozenset({*mimetypes.knownfiles, "/dev/null"})
NOT_PUBLIC = "an address that is not public"
PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
"""Prefixes of audit events that start a program."""


def confine(confinement: Confinement) -> None:
    """Confine what runs in this context from here on."""
    _install()
    _confined.set(confinement)


def is_public(address: str) -> bool:
    """Whether `address` is on the public internet. Addresses of IPv4 that are mapped into IPv6 are judged as IPv4."""
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
        if found not in UNICAST:
            return False
    return found.is_global and not found.is_multicast and not any(found in network for network in SPECIAL)


@functools.cache
def _install() -> None:
    """Install the audit hook once: a hook cannot be removed."""
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
    return NOT_PUBLIC


def _message(confinement: Confinement, socket: Any, address: Any = None) -> str:
    return "" if address is None else _connection(confinement, socket, address)


def _file(_: Confinement, path: Any, *__: Any) -> str:
    if not isinstance(path, str | bytes):
        return ""  # a descriptor that is open already
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
