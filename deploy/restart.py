"""`python -m deploy.restart PART…`: end parts of a running `make up`, which starts them again.

Nothing is lost by it: what was not committed was not acknowledged. A part that does not end by itself is killed.
Exit status: 0 they run again, 1 not.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.stack.paths import MAIN, Paths, short
from deploy.stack.process import POLL_S, holders

PARTS = ("postgres", "mosquitto", "API", "gateway", "alarms", "simulator", "canary")
ENDS_S, STARTS_S = 45.0, 30.0
WRAPPER = "bwrap"
"""Would end without telling its child."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.restart", description="End parts of a running `make up`, which starts them again."
    )
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--now", action="store_true", help="kill them: they hang, and would not end by themselves")
    parser.add_argument("--name", default=MAIN, help="of the stack, as in `python -m deploy.up --name`")
    options = parser.parse_args()
    paths = Paths(options.name)
    if not _held(paths.run / "stack.lock"):
        print("`make up` does not run: nobody would start it again", file=sys.stderr)
        return 1
    return max(0 if restart(paths, part, now=options.now) else 1 for part in options.parts)


def restart(paths: Paths, part: str, *, now: bool = False) -> bool:
    """Whether another one of it runs."""
    lock = paths.run / f"{part}.lock"
    old = _held(lock)
    for pid in [] if now else _tops(old):
        _signal(pid, signal.SIGINT if part == "postgres" else signal.SIGTERM)
    if now or not _until(lambda: not set(old) & set(_held(lock)), ENDS_S):
        print(f"{part} is killed")
        for pid in old:
            _signal(pid, signal.SIGKILL)
    again = _until(lambda: bool(set(_held(lock)) - set(old)), STARTS_S)
    print(f"{part} {'runs again' if again else 'was not started again'}: {short(paths.log / part)}.log")
    return again


def _held(lock: Path) -> list[int]:
    return holders(lock) if lock.exists() else []


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _tops(pids: list[int]) -> list[int]:
    """Of a process and its children the process."""
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


if __name__ == "__main__":
    sys.exit(main())
