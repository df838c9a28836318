"""`biogate restart PART…`: end parts of a running `biogate up`, which starts them again.

Nothing is lost by it: what was not committed was not acknowledged. A part that does not end by itself is killed.
Exit status: 0 they run again, 1 not.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deploy.stack.errors import StackError
from deploy.stack.paths import MAIN, STACK, Paths, short
from deploy.stack.process import holders, until
from schema.command_line import DONE, FAILED


class StackPart(StrEnum):
    """The parts of a stack, by the names of their locks."""

    POSTGRES = "postgres"
    MOSQUITTO = "mosquitto"
    API = "API"
    GATEWAY = "gateway"
    ALARMS = "alarms"
    WORKER = "worker"
    EVIDENCE = "evidence"
    SIMULATOR = "simulator"
    CANARY = "canary"


ENDS_S, STARTS_S = 45.0, 30.0
WRAPPER = "bwrap"
"""Would end without telling its child."""


def main(
    parts: Annotated[list[StackPart], typer.Argument(metavar="PART…", case_sensitive=False, help=", ".join(StackPart))],
    *,
    now: Annotated[bool, typer.Option("--now", help="kill them: they hang, and would not end by themselves")] = False,
    name: Annotated[
        str | None, typer.Option(help="of the stack, as in `biogate up --name`; without it, the one that runs")
    ] = None,
) -> int:
    """End parts of a running `biogate up`, which starts them again."""
    paths = Paths(chosen(running(), name))
    return FAILED if [part for part in parts if not restart(paths, part, now=now)] else DONE


def running() -> list[str]:
    """Return the names of the stacks that run."""
    return sorted(lock.parent.name for lock in (STACK / "run").glob("*/stack.lock") if holders(lock))


def chosen(names: Sequence[str], asked: str | None) -> str:
    """Return the stack of which parts are restarted; without a wish `main`, or the only one. Raises StackError."""
    others = f"; `--name` can be {', '.join(names)}" if names else ""
    if asked is None and len(names) > 1 and MAIN not in names:
        raise StackError(f"several stacks run: say of which one{others}")
    if asked is None and names:
        return MAIN if MAIN in names else names[0]
    if asked is None or asked not in names:
        command = f"biogate up --name {asked}" if asked else "biogate up"
        raise StackError(f"`{command}` does not run: nobody would start it again{others}")
    return asked


def restart(paths: Paths, part: str, *, now: bool = False) -> bool:
    """Whether another one of it runs."""
    lock = paths.run / f"{part}.lock"
    old = holders(lock)
    for pid in [] if now else _tops(old):
        _signal(pid, signal.SIGINT if part == "postgres" else signal.SIGTERM)
    if now or not until(lambda: not set(old) & set(holders(lock)), ENDS_S):
        print(f"{part} is killed")
        for pid in old:
            _signal(pid, signal.SIGKILL)
    again = until(lambda: bool(set(holders(lock)) - set(old)), STARTS_S)
    print(f"{part} {'runs again' if again else 'was not started again'}: {short(paths.log / part)}.log")
    return again


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _tops(pids: list[int]) -> list[int]:
    """The processes that are no children of others in `pids`, without the wrapper."""
    known = {pid: _stat(pid) for pid in pids}
    inner = [pid for pid, (name, _) in known.items() if name != WRAPPER]
    return [pid for pid in inner if known[pid][1] not in inner]


def _stat(pid: int) -> tuple[str, int]:
    """Its name, and its parent; of one that has ended, nothing."""
    try:
        head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return "", 0
    return head.partition("(")[2], int(rest.split()[1])
