"""Run a command while the private servers keep their data in memory: `python -m tests.in_memory COMMAND ARGUMENT…`

The tests make a database each, so a thousand files each, and where these are on a disk the file system takes half of
the processor time of all tests. The memory is seen by the command and its children alone, and is free when they have
ended; nothing is mounted for anybody else. Where the machine does not let us, the data are on the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys

from deploy.stack.local import sweep
from deploy.stack.place import private

MOUNT = 'mount -t tmpfs -o mode=755 tmpfs "$0" && exec "$@"'


def prefix() -> list[str]:
    """What to put before the command: as root `unshare`, and for another user what runs the servers too."""
    data = str(private().data)
    if os.geteuid() == 0:
        return ["unshare", "--mount", "sh", "-c", MOUNT, data]
    return ["bwrap", "--dev-bind", "/", "/", "--tmpfs", data]


def works(words: list[str]) -> bool:
    try:
        return subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    sweep()  # what tests that were killed left on the disk: it cannot be seen from within
    private().data.mkdir(parents=True, exist_ok=True)
    words = prefix()
    command = [*words, *sys.argv[1:]] if works(words) else sys.argv[1:]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
