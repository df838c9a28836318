"""Runs one supervised process: it is started under a lock, with a log, and never outlives us.

The process inherits the lock file, which stays locked as long as the process or a child of it lives. So a stack that
was killed and is started again knows for certain whether an old server is still there, whatever pid files say.

The kernel's death signal (setpriv --pdeathsig) is tied to the *thread* that starts the process: start from one that
lives as long as the process should, so from the main thread.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from threading import Event

from deploy.stack.errors import StackError, StartError
from deploy.stack.paths import short

POLL_S = 0.05
PREDECESSOR_S = 15.0
"""Seconds that an old process with the same lock gets to end by itself before it is killed."""


def with_death_signal(argv: Sequence[str], death: signal.Signals = signal.SIGTERM) -> list[str]:
    """`argv`, run so that it gets `death` when the starting thread ends, however that happens."""
    return ["setpriv", "--pdeathsig", death.name.removeprefix("SIG"), *argv]


MOST_LOG_BYTES = 16 * 2**20
"""The size from which on a log is emptied: a part has twice as much at the most."""


@dataclass(eq=False)
class Process:
    """A child process with a lock, a log file, a stop signal and a deadline.

    `wrapped`: argv starts a wrapper, which stays, and the process is its child.
    """

    name: str
    argv: Sequence[str]
    _: KW_ONLY
    log: Path
    lock: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    deadline_s: float = 10.0
    wrapped: bool = False
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Process id; raises StackError if it was never started."""
        if self._child is None:
            raise StackError(f"{self.name} was not started")
        if self.wrapped:  # the wrapper would not pass signals on
            path = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
            children = path.read_text().split() if path.exists() else []
            return int(children[0]) if children else self._child.pid
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def ending(self) -> str:
        """The end of the process in words, or "is running"."""
        code = None if self._child is None else self._child.poll()
        if code is None:
            return "is running"
        if self.wrapped and code > 128:  # how the wrapper reports a signal
            code = 128 - code
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def bound_log(self, most: int = MOST_LOG_BYTES) -> None:
        """Keep the log as `.1`, and empty it, once it has more than `most` bytes. The process goes on writing; what it
        writes at that moment may be lost."""
        if self.log.exists() and self.log.stat().st_size > most:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)

    def start(self, prepare: Callable[[], None] | None = None) -> None:
        """Start the process. `prepare` runs under the lock, when no older process is left. The previous log is kept as
        `.1`. Raises StartError if the program cannot be executed."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.chmod(0o700)  # logs name devices, people and client ids
        descriptor = acquire(self.lock, self.name)
        try:
            if prepare is not None:
                prepare()
            if self.log.exists():
                self.log.rename(self.log.with_suffix(".log.1"))
            with self.log.open("ab") as log:  # appending, so that the file may be emptied under the process
                self._child = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if self.env is None else dict(self.env),
                    cwd=self.cwd,
                    pass_fds=(descriptor,),
                    start_new_session=True,  # Ctrl-C in the terminal must reach us alone: the order of stopping matters
                )
        except OSError as error:
            raise StartError(self.name, f"{self.argv[0]}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Raise StartError if the process has ended."""
        if not self.running:
            raise StartError(self.name, self.ending, self.log)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, by default the one that cannot be caught."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout_s: float, hurry: Event | None = None) -> bool:
        """Wait for the end; False if the process lives on after `timeout_s`, or as soon as `hurry` is set."""
        until(lambda: not self.running or (hurry is not None and hurry.is_set()), timeout_s)
        return not self.running

    def stop(self, hurry: Event | None = None) -> bool:
        """Ask the process to end, and kill it after its deadline. False if it had to be killed."""
        self.kill(self.stop_signal)
        if self.wait(self.deadline_s, hurry):
            return True
        self.kill()
        self.wait(5)
        return False


def run_logged(
    argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None, given: str = ""
) -> int:
    """Run a command to its end, with its output at the end of a log; return its exit code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.run(
            argv, env=env, cwd=cwd, input=given.encode(), stdout=output, stderr=output, check=False
        ).returncode


def acquire(lock: Path, name: str, wait_s: float = PREDECESSOR_S) -> int:
    """Lock the file; return its descriptor. An old process with the lock gets `wait_s` seconds, then is killed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not until(lambda: try_lock(descriptor), wait_s):
        for pid in holders(lock):
            os.kill(pid, signal.SIGKILL)
        if not until(lambda: try_lock(descriptor), 5):
            os.close(descriptor)
            raise StackError(f"{name}: an older process still holds {short(lock)}")
    return descriptor


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until the condition holds; False if it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def try_lock(descriptor: int) -> bool:
    """Lock the open file for this process and those that inherit it; False if another process has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holders(lock: Path) -> list[int]:
    """Processes, other than this one, that have the lock file open; none if there is no such file."""
    try:
        wanted = lock.stat()
    except FileNotFoundError:
        return []
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.path.samestat(fd.stat(), wanted) for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue  # the process ended meanwhile, or belongs to another user
    return [pid for pid in found if pid != os.getpid()]
