"""Finds free TCP ports on loopback, and asks whether somebody serves at one."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from collections.abc import Collection
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from urllib.error import HTTPError
from urllib.request import urlopen

from deploy.stack.errors import StackError

LOOPBACK = "127.0.0.1"
EPHEMERAL = 32_768
"""The first port that the kernel uses as source port of connections."""
LISTEN = "0A"
"""The kernel's number for a socket that listens."""


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now; lingering connections of an earlier server do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether a process accepts connections on `port`."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on `port`. Where its files may not be seen, whether any process does."""
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
            sockets.add(f"socket:[{inode}]")
    try:
        return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return is_listening(port)
    except OSError:  # it ends, or closes a file
        return False


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http URL
            return bool(answer.status == 200)
    except HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def next_free(preferred: int, taken: Collection[int] = ()) -> int:
    """The first free port from `preferred` on that is not among `taken`."""
    for port in range(preferred, min(preferred + 1000, 65536)):
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port from {preferred} on")


def any_free() -> int:
    """A free port for a server beside others, as in tests; no other process is given it while this one lives. It is
    below the kernel's source ports, because a server that was killed must find its port free when it starts again."""
    given = _given()
    for _ in range(1000):
        port = random.SystemRandom().randrange(10_000, EPHEMERAL)
        try:
            fcntl.lockf(given, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        if is_free(port):
            return port
    raise StackError("no free port found")


@cache
def _given() -> int:
    """Open the file in which the byte of each port that was given is locked, by the process that has it."""
    path = Path(gettempdir()) / f"biogate-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
