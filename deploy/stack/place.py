"""Runs a server's program from where it is installed, without changing anything outside the checkout.

| who runs it | program | how |
|---|---|---|
| root | private Debian root | chroot, then setpriv to the server's own user; data in the root, nothing is mounted |
| another user | private Debian root | bubblewrap: the root read-only, the data directory at /srv |
| anybody | the machine's own | as it is; as root under the server's own user |
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.errors import StackError
from deploy.stack.paths import DATA, ROOT
from deploy.stack.process import with_death_signal


@dataclass(frozen=True)
class Place:
    """A Debian root, or with `root` None the machine itself; `data` is where data directories are kept."""

    data: Path
    root: Path | None = None

    @property
    def _chroot(self) -> bool:
        return self.root is not None and os.geteuid() == 0

    @property
    def wraps(self) -> bool:
        """Whether a wrapper stays between us and the server: bubblewrap does, chroot and setpriv become it."""
        return self.root is not None and not self._chroot

    def inside(self, path: Path) -> str:
        """The name that a program in this place uses for `path`, which must be under `data`."""
        if self.root is None:
            return str(path)
        return str(Path("/srv") / path.relative_to(self.data))

    def command(self, argv: Sequence[str], user: str, death: signal.Signals) -> list[str]:
        """The command that runs `argv` here as `user` (as us, if we are not root) and gets `death` when we die."""
        if self._chroot:
            return ["chroot", str(self.root), *as_user(user, with_death_signal(argv, death))]
        if self.root is not None:
            # bubblewrap kills with SIGKILL when we die; both servers survive that.
            uid, gid = self._ids(user)
            return [
                "bwrap", "--die-with-parent", "--unshare-user", "--uid", str(uid), "--gid", str(gid),
                "--ro-bind", str(self.root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",  # noqa: S108 - a fresh one, for the server alone
                "--bind", str(self.data), "/srv", *argv,
            ]  # fmt: skip
        return as_user(user, with_death_signal(argv, death)) if os.geteuid() == 0 else with_death_signal(argv, death)

    def run(self, argv: Sequence[str], user: str, text: str = "") -> None:
        """Run a command to its end, with `text` on its standard input; raises StackError with its output."""
        done = subprocess.run(
            self.command(argv, user, signal.SIGKILL), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackError(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).strip()}")

    def make(self, path: Path, user: str) -> None:
        """Create the directory `path` for `user` alone. We never write in it: as root we would follow its links."""
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, *self._ids(user))
        path.chmod(0o700)

    def show(self, path: Path, user: str) -> None:
        """Make our file `path` readable by `user`, and by nobody else."""
        if os.geteuid() == 0:
            os.chown(path, -1, self._ids(user)[1])
        path.chmod(0o640)

    def give(self, path: Path, text: str, user: str) -> None:
        """Write our file `path` anew, so that `user` alone may read it and at no time anybody else."""
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), *self._ids(user))

    def _ids(self, user: str) -> tuple[int, int]:
        """The user's and the group's number. Those in the root may differ from the machine's."""
        if self.root is None:
            entry = pwd.getpwnam(user)
            return entry.pw_uid, entry.pw_gid
        for line in (self.root / "etc" / "passwd").read_text().splitlines():
            if line.startswith(f"{user}:"):
                uid, gid = line.split(":")[2:4]
                return int(uid), int(gid)
        raise StackError(f"{self.root} has no user {user}; `make clean` and `make up` build it anew")


def as_user(user: str, argv: Sequence[str]) -> list[str]:
    """`argv` as root runs it under `user`. setpriv takes all its options in one call, the death signal last."""
    assert argv[0] == "setpriv", "a death signal set before the user changes is lost"
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *argv[1:]]


def private() -> Place:
    """The private Debian root."""
    return Place(data=ROOT / "srv" if os.geteuid() == 0 else DATA, root=ROOT)


def machine() -> Place:
    """This machine's own programs."""
    return Place(data=DATA)
