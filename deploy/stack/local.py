"""Runs both servers as one context, beside a running `make up` and beside others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import choose
from deploy.stack.errors import StackError
from deploy.stack.paths import STACK, Paths
from deploy.stack.place import machine, private
from deploy.stack.ports import any_free
from deploy.stack.process import acquire, holders, try_lock
from deploy.stack.servers import Mosquitto, Postgres
from deploy.stack.service import start_all

TEMPORARY = "temporary"
"""A file of this name in a stack's run directory marks the stack as temporary."""


@dataclass(frozen=True)
class Local:
    """A running pair of servers. Each may be stopped, killed and started again."""

    paths: Paths
    postgres: Postgres
    mosquitto: Mosquitto

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def mqtt_url(self) -> str:
        return self.mosquitto.url


def database(paths: Paths, choice: choose.Choice, *, port: int, settings: Mapping[str, str] | None = None) -> Postgres:
    """The chosen PostgreSQL, not started yet."""
    return Postgres(choice.place, paths, port=port, programs=choice.where, settings=settings)


def broker(
    paths: Paths, choice: choose.Choice, *, port: int, settings: Mapping[str, str] | None = None, extra: str = ""
) -> Mosquitto:
    """The chosen Mosquitto, not started yet."""
    return Mosquitto(choice.place, paths, port=port, program=choice.where, settings=settings, extra=extra)


@contextmanager
def local(
    name: str,
    *,
    keep: bool = False,
    postgres_settings: Mapping[str, str] | None = None,
    mosquitto_settings: Mapping[str, str] | None = None,
    mosquitto_extra: str = "",
) -> Iterator[Local]:
    """Start both servers on free ports with data of their own under `name`, and stop them at the end.

    Without `keep` the data are removed at the end; those of earlier temporary stacks that were killed, at the start.
    Two stacks at once need two names; put the process id into the name. Start from the main thread: see process.py.
    Raises StackError, StartError.
    """
    choices = choose.postgres(given=False), choose.mosquitto(given=False)
    paths = Paths(name)
    with ExitStack() as stack:
        stack.callback(os.close, hold(paths))
        if not keep:
            sweep()
            for lock in (paths.run / f"{server}.lock" for server in ("postgres", "mosquitto")):
                os.close(acquire(lock, f"stack {name!r}"))  # servers of a namesake that was killed
            remove_data(paths)
            (paths.run / TEMPORARY).touch()
            stack.callback(erase, paths)
        pair = Local(
            paths,
            database(paths, choices[0], port=any_free(), settings=postgres_settings),
            broker(paths, choices[1], port=any_free(), settings=mosquitto_settings, extra=mosquitto_extra),
        )
        stack.callback(pair.postgres.stop)
        stack.callback(pair.mosquitto.stop)
        start_all(pair.postgres, pair.mosquitto)
        yield pair


def hold(paths: Paths) -> int:
    """Lock the stack of that name for this process; return the descriptor that holds the lock. Raises StackError."""
    paths.run.mkdir(parents=True, exist_ok=True)
    lock = paths.run / "stack.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not try_lock(descriptor):
        owner = lock.read_text().strip() or "?"
        os.close(descriptor)
        raise StackError(f"the stack {paths.name!r} is running already, under process {owner}")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def held() -> Path | None:
    """A lock file that a running stack of this checkout holds, or None if no stack runs."""
    return next(filter(holders, locks(STACK / "run")), None)


def locks(directory: Path) -> Iterator[Path]:
    """All lock files below a directory. Another process may be removing some: `rglob` would raise an error."""
    for path, _, names in os.walk(directory):
        yield from (Path(path) / name for name in names if name.endswith(".lock"))


def erase(paths: Paths) -> None:
    """Remove everything that a stopped stack has left: data, logs, locks, its key, its addresses."""
    remove_data(paths)
    header = paths.key.with_name(f"{paths.key.name}.header")
    for path in (paths.key, header, paths.link, paths.env, paths.owner, paths.prometheus):
        path.unlink(missing_ok=True)
    shutil.rmtree(paths.log, ignore_errors=True)
    shutil.rmtree(paths.run, ignore_errors=True)


def remove_data(paths: Paths) -> None:
    for place in (private(), machine()):
        shutil.rmtree(place.data / paths.name, ignore_errors=True)
    shutil.rmtree(paths.secrets, ignore_errors=True)


def sweep() -> None:
    """Remove temporary stacks whose owner was killed, once their servers (also of stacks named `NAME/…`) have ended."""
    for mark in (STACK / "run").glob(f"*/{TEMPORARY}"):
        if all(_is_free(lock) for lock in locks(mark.parent)):
            erase(Paths(mark.parent.name))


def _is_free(lock: os.PathLike[str]) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # somebody else has removed it meanwhile
        return True
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)
