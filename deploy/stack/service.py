"""A part of the stack: a process with a name, a log, a way to start and a sign that it is ready."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, Self
from urllib.parse import urlsplit

from deploy.stack import ports
from deploy.stack.errors import StartError
from deploy.stack.paths import CHECKOUT, Paths
from deploy.stack.process import Process, until, with_death_signal


class Service:
    """One part. `start` is `spawn` and `wait_ready`, so that several parts can start at once."""

    title: str
    """The name for people."""

    def __init__(self, paths: Paths, name: str, *, deadline_s: float) -> None:
        self.log = paths.log / f"{name}.log"
        self.lock = paths.run / f"{name}.lock"
        self.deadline_s = deadline_s
        self.process = self.new_process()

    def new_process(self) -> Process:
        """The process to be started next, made by `process_of`."""
        raise NotImplementedError

    def process_of(self, argv: Sequence[str], **options: Any) -> Process:
        """The process of this command line, with the part's log, lock and deadline; `options` as Process has them."""
        return Process(self.title, argv, log=self.log, lock=self.lock, deadline_s=self.deadline_s, **options)

    def prepare(self) -> None:
        """Prepare a start. It runs before each start, when no older process is left."""

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The address of the part; empty if it has none."""
        return ""

    def is_alive(self) -> bool:
        """Whether the part shows that it does not hang; True where it cannot be asked."""
        return True

    @property
    def pid(self) -> int:
        return self.process.pid

    def spawn(self) -> None:
        """Start without waiting until the part is ready; wait only for an older process to end."""
        self.process = self.new_process()
        self.process.start(self.prepare)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until the part serves. Raises StartError with its last log lines if it ends or takes too long."""
        if not until(lambda: not self.process.running or self.is_ready(), timeout_s):
            raise StartError(self.title, f"not ready after {timeout_s:g} s", self.log)
        self.process.check()

    def start(self, timeout_s: float = 60) -> None:
        self.spawn()
        self.wait_ready(timeout_s)

    def stop(self, hurry: Event | None = None) -> bool:
        """Stop the part cleanly; False if it had to be killed after its deadline."""
        return self.process.stop(hurry)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal: SIGKILL for a crash, SIGSTOP and SIGCONT for a freeze."""
        self.process.kill(number)

    def restart(self) -> None:
        """Stop cleanly and start again, on the same port and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Module(Service):
    """One of our own programs, run by `python -m …` from the checkout."""

    def __init__(
        self,
        paths: Paths,
        title: str,
        arguments: list[str],
        *,
        environment: Mapping[str, str],
        ready: Callable[[], bool] = lambda: True,
        url: str = "",
        health: bool = False,
        deadline_s: float = 15,
    ) -> None:
        self.title, self._arguments, self._environment = title, arguments, dict(environment)
        self._ready, self._url, self._health = ready, url, health
        super().__init__(paths, title, deadline_s=deadline_s)

    def new_process(self) -> Process:
        argv = with_death_signal([sys.executable, "-m", *self._arguments])
        return self.process_of(argv, env=self._environment, cwd=CHECKOUT)

    def is_ready(self) -> bool:
        """Whether the program is ready, and listens itself: another one may have taken its port meanwhile."""
        port = urlsplit(self._url).port
        return self.process.running and (port is None or ports.listens(self.pid, port)) and self._ready()

    def is_alive(self) -> bool:
        return not self._health or ports.answers(f"{self._url}/health")

    @property
    def url(self) -> str:
        return self._url


def start_all(*services: Service) -> None:
    """Start several parts at once, and return when all are ready."""
    for service in services:
        service.spawn()
    for service in services:
        service.wait_ready()
