"""Files for their owner alone: keys, passwords, logins."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, text: str) -> None:
    """A file that was not there, on disk. Raises OSError: FileExistsError if it is there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_over(path: Path, text: str) -> None:
    """The whole file or none, in the place of what was there. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    write_new(new, text)
    new.replace(path)
