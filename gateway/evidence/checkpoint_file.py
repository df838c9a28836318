"""The file of checkpoints: JSON Lines, only ever appended to, on disk before it counts.

{"kind":"key", …}          a key that signs from here on
{"kind":"checkpoint", …}   a checkpoint, with the first bytes of the hashes of the events since the one before
{"kind":"token", …}        a time stamp of a checkpoint
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError
from schema.evidence.canonical import canonical
from schema.evidence.checkpoints import Checkpoint, CheckpointUnreadable
from schema.evidence.keys import KeyChange, KeyRefused
from schema.evidence.sources import file_lines, key_line, read_key_line


class CheckpointFileError(GatewayError):
    """The file of checkpoints cannot be read or written; says why."""


class CheckpointFile:
    """The file, and what stands last in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.newest: dict[int, Checkpoint] = {}
        """The checkpoint with the greatest number, by organization."""
        self.keys: list[KeyChange] = []
        self.unreadable: list[int] = []
        """Numbers of lines that have nothing that can be read."""

    @property
    def path(self) -> Path:
        return self._path

    def load(self) -> None:
        """Read the file, if there is one. Raises CheckpointFileError."""
        self.newest, self.keys, self.unreadable = {}, [], []
        try:
            if not self._path.exists():
                return
            for number, said in file_lines(self._path):
                self._take(number, said or {})
        except OSError as error:
            raise CheckpointFileError(f"{self._path} cannot be read: {error.strerror}") from error

    def _take(self, number: int, said: dict[str, Any]) -> None:
        try:
            match said.get("kind"):
                case "key":
                    self.keys.append(read_key_line(said))
                case "checkpoint":
                    self._note(Checkpoint.from_json(said))
                case "token":
                    pass
                case _:
                    self.unreadable.append(number)
        except (CheckpointUnreadable, KeyRefused):
            self.unreadable.append(number)

    def _note(self, checkpoint: Checkpoint) -> None:
        said = checkpoint.says
        newest = self.newest.get(said.organization)
        if newest is None or newest.says.number < said.number:
            self.newest[said.organization] = checkpoint

    def append(self, checkpoint: Checkpoint, marks: bytes = b"") -> None:
        """Append a checkpoint. Raises CheckpointFileError."""
        line = checkpoint.to_json()
        self._append(line | ({"marks": base64.b64encode(marks).decode()} if marks else {}))
        self._note(checkpoint)

    def append_key(self, change: KeyChange) -> None:
        """Append a key. Raises CheckpointFileError."""
        self._append(key_line(change))
        self.keys.append(change)

    def append_token(self, organization: int, number: int, token: bytes) -> None:
        """Append a time stamp of a checkpoint that stands in the file. Raises CheckpointFileError."""
        said = {"kind": "token", "organization": organization, "number": number}
        self._append(said | {"token": base64.b64encode(token).decode()})

    def _append(self, line: dict[str, Any]) -> None:
        is_new = not self._path.exists()
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # the process was killed while it wrote
                os.write(handle, (b"\n" if torn else b"") + f"{canonical(line)}\n".encode())
                os.fsync(handle)
            finally:
                os.close(handle)
            if is_new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise CheckpointFileError(f"{self._path} cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
