"""Where checkpoints and keys are kept: the table, a file of lines, the broker's retained messages.

Whoever owns the database owns the table. The file and the broker are elsewhere, so they are compared with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from schema.evidence.checkpoints import Checkpoint, CheckpointUnreadable
from schema.evidence.keys import KeyChange, KeyRefused

PAGE = 5000
READ = """
select number, text, signature, token from public.checkpoints
 where organization_id = $1 and number > $2 order by number limit $3"""
KEYS = "select text, signature, signature_before from public.evidence_keys order by at, key_id"


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint of the file, with the first bytes of the hashes of the events since the one before (walk.MARK)."""

    checkpoint: Checkpoint
    marks: bytes = b""


async def table_checkpoints(connection: asyncpg.Connection, organization: int) -> AsyncIterator[Checkpoint]:
    """Yield the checkpoints of the table in the order of their numbers."""
    number = 0
    while page := await connection.fetch(READ, organization, number, PAGE):
        for row in page:
            yield Checkpoint(row["text"], row["signature"], row["token"])
        number = page[-1]["number"]


async def table_keys(connection: asyncpg.Connection) -> list[KeyChange]:
    """The keys of the table, in the order of their times."""
    return [KeyChange(*row) for row in await connection.fetch(KEYS)]


def key_line(change: KeyChange) -> dict[str, Any]:
    """The fields under which files, bundles and messages have a change of keys."""
    before = change.signature_before
    return {
        "kind": "key",
        "text": change.text,
        "signature": base64.b64encode(change.signature).decode(),
        "signature_before": None if before is None else base64.b64encode(before).decode(),
    }


def read_key_line(said: Mapping[str, Any]) -> KeyChange:
    """The opposite of `key_line`. Raises KeyRefused."""
    try:
        before = said.get("signature_before")
        return KeyChange(
            str(said["text"]),
            base64.b64decode(said["signature"], validate=True),
            None if before is None else base64.b64decode(before, validate=True),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise KeyRefused("a line has no change of keys") from error


def file_lines(path: Path, size: int | None = None) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield number and content of each line of the first `size` bytes; None: it cannot be read. Raises OSError.

    A last line without its end was not written to its end: the process was killed, and nobody relies on it.
    """
    read = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            read += len(line)
            if not line.endswith(b"\n") or (size is not None and read > size):
                return
            if line.strip():
                yield number, _line(line)


def _line(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def file_keys(path: Path) -> list[KeyChange]:
    """The changes of keys in the file, in its order. Raises OSError, KeyRefused."""
    return [read_key_line(said) for _, said in file_lines(path) if said is not None and said.get("kind") == "key"]


def file_checkpoints(path: Path, organization: int, size: int | None = None) -> Iterator[KeptCheckpoint]:
    """Yield the checkpoints of an organization in the file's order, without repetitions. Raises OSError."""
    newest = ""
    for _, said in file_lines(path, size):
        if said is None or said.get("kind") != "checkpoint":
            continue
        try:
            found = Checkpoint.from_json(said)
            is_ours = found.says.organization == organization and found.text != newest
            marks = base64.b64decode(said.get("marks") or "")
        except (CheckpointUnreadable, ValueError, TypeError):
            continue
        if is_ours:
            newest = found.text
            yield KeptCheckpoint(found, marks)


def file_tokens(path: Path, organization: int) -> dict[int, bytes]:
    """The time stamps of an organization's checkpoints in the file, by number of the checkpoint. Raises OSError."""
    found = {}
    for _, said in file_lines(path):
        if said is not None and said.get("kind") == "token" and said.get("organization") == organization:
            try:
                found[int(said["number"])] = base64.b64decode(said["token"], validate=True)
            except (KeyError, TypeError, ValueError):
                continue
    return found
