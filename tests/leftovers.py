"""No test leaves a process, a port or a database behind: a test that leaves a process fails; for the rest, its run."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

PATIENCE_S = 5.0
"""A process that was told to end may need a moment."""
KEPT = "from multiprocessing."
"""In the command of the two that Python keeps: what forks processes (tests/forked.py), and who cleans up after it."""
PROC = Path("/proc")


def children(pid: int) -> Iterator[int]:
    try:
        for thread in (PROC / str(pid) / "task").iterdir():
            yield from map(int, (thread / "children").read_text().split())
    except OSError:  # it has ended meanwhile
        return


def command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes() -> Counter[str]:
    """The commands of what this process has started, and of what was forked for it, which has that of what forks."""
    own = set(children(os.getpid()))
    kept = {pid for pid in own if KEPT in command(pid)}
    return Counter(said for pid in (own - kept).union(*map(children, kept)) if (said := command(pid)))


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = processes()
    yield
    end = time.monotonic() + PATIENCE_S
    while left := processes() - before:  # a server that the test has started again is another process of one command
        assert time.monotonic() < end, f"the test has left {list(left)}"
        time.sleep(0.02)


def listening() -> set[str]:
    """The addresses at which this process listens, as the kernel writes them."""
    sockets = set()
    for descriptor in (PROC / "self/fd").iterdir():
        try:
            sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:  # the one by which they are listed
            continue
    rows = [line.split() for kind in ("tcp", "tcp6") for line in (PROC / "net" / kind).read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in sockets}


@pytest.fixture(scope="session", autouse=True)
def no_port_is_left() -> Iterator[None]:
    before = listening()
    yield
    assert listening() <= before, "a test has left a port open"


async def databases(postgres_url: str) -> list[str]:
    """What fixtures have made on the server and not dropped: databases and logins."""
    connection = await asyncpg.connect(postgres_url)
    rows = await connection.fetch(
        "select datname from pg_database where datname like 'test\\_%'"
        " union all select rolname from pg_roles where rolname like 'test\\_%'"
    )
    await connection.close()
    return [row[0] for row in rows]
