"""`python -m …` in a process of its own, forked from one that has imported already what all of them import.

To start Python and import it all takes half a second of processor time, and the tests do it a thousand times. The
module is executed as __main__, with arguments, environment, directory and streams of its own; a real `python -m` of
each has a test too.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMANDS = (
    *("gateway.__main__", "gateway.operators.commands", "gateway.quarantine.console", "gateway.operators.recovery"),
    *("gateway.alarms.__main__", "schema.migrate", "device_sim.__main__", "device_sim.running"),
    *("deploy.command", "deploy.backup.command", "api.admin.accounts", "api.admin.holds", "api.__main__"),
    "api.admin.channels",
    "deploy.worker.__main__",
)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", __name__, *COMMANDS])


class Forked:
    """A started `python -m MODULE`, with the part of subprocess.Popen that is used. Files are appended to."""

    def __init__(
        self,
        module: str,
        *arguments: object,
        environment: Mapping[str, str],
        out: Path,
        err: Path | None = None,
        given: Path | None = None,
        directory: Path | None = None,
    ) -> None:
        self.module = module
        words, streams = [str(argument) for argument in arguments], (given or Path(os.devnull), out, err or out)
        self._process = FORKS.Process(
            target=_main, args=(module, words, dict(environment), streams, directory or Path.cwd()), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status; the number of the signal that ended it, negated; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.module, timeout_s or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Talking(Forked):
    """One whose output is for the test; what it says of errors is shown with a failure."""

    def __init__(self, module: str, *arguments: object, environment: Mapping[str, str] = os.environ) -> None:
        self._streams = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._streams.name) / name for name in ("out", "err"))
        for stream in (self._out, self._err):
            stream.touch()  # it may be killed before it does so
        super().__init__(module, *arguments, environment=environment, out=self._out, err=self._err)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def finish(self, timeout_s: float = 60) -> str:
        """Its output, when it has ended."""
        self.wait(timeout_s)
        with self._streams:
            print(self._err.read_text(), file=sys.stderr)
            return self._out.read_text()


def _main(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[Path], directory: Path
) -> None:
    for number, (path, flags) in enumerate(zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_APPEND] * 2), strict=True)):
        descriptor = os.open(path, flags | os.O_CREAT, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = [module, *arguments]
    for imported in (module, f"{module}.__main__"):
        sys.modules.pop(imported, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
