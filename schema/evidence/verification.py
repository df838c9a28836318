"""Verifies the audit trail of an organization: events against the checkpoints of table, file and broker, and records
against events. It reads in pages, so that its memory does not grow with the trail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from schema.evidence.canonical import digest
from schema.evidence.checkpoints import Checkpoint, CheckpointText, CheckpointUnreadable
from schema.evidence.events import AuditEvent, events, hash_at
from schema.evidence.keys import KeyChange, KeyRefused, KeyRing
from schema.evidence.records import RecordCheck
from schema.evidence.sources import (
    KeptCheckpoint,
    file_checkpoints,
    file_keys,
    file_tokens,
    table_checkpoints,
    table_keys,
)
from schema.evidence.tokens import TokenRefused, check_token
from schema.evidence.walk import ChainWalk

ALONE = "checkpoints are in the database alone, whose owner can change them: give the file of the signing process"
UNTRUSTED = "no public key was given: a forger's own key would look as good as the real one"
UNSIGNED = "no checkpoint was found: that no event is missing at the end, and that none was recomputed, is not certain"


@dataclass(frozen=True)
class Elsewhere:
    """What is kept outside the database: a public key, the file of checkpoints, the broker's newest checkpoint, and the
    authorities of a time stamp service."""

    trusted: Ed25519PublicKey | None = None
    file: Path | None = None
    retained: Checkpoint | None = None
    authorities: Sequence[Certificate] = ()


@dataclass
class ChainVerification:
    """The result for one organization. Without `faults` all is as it was signed; `remarks` say what is not certain."""

    events: int = 0
    last: AuditEvent | None = None
    checkpoints: int = 0
    certain: CheckpointText | None = None
    """The newest checkpoint that agrees with the events."""
    records: int = 0
    stamps: int = 0
    """Time stamp tokens that are right."""
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def verify_chain(connection: asyncpg.Connection, organization: int, elsewhere: Elsewhere) -> ChainVerification:
    """Verify what is there at one moment. Raises OSError for a file that cannot be read, and the database's errors."""
    size = None if elsewhere.file is None else elsewhere.file.stat().st_size  # before: each line of it is in the table
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local search_path = pg_catalog")
        run = _Run(connection, organization, elsewhere, size)
        await run.run()
    return run.found


class _Run:
    """One verification."""

    def __init__(
        self, connection: asyncpg.Connection, organization: int, elsewhere: Elsewhere, size: int | None
    ) -> None:
        self._connection, self._organization = connection, organization
        self._elsewhere, self._size = elsewhere, size
        self.found = ChainVerification()
        self._walk = ChainWalk(organization)
        self._records = RecordCheck(connection, organization)
        self._before: Checkpoint | None = None
        self._ring = KeyRing(())
        self._tokens: dict[int, bytes] = {}

    async def run(self) -> None:
        self._ring = await self._keys()
        if self._elsewhere.file is not None and self._elsewhere.authorities:
            self._tokens = file_tokens(self._elsewhere.file, self._organization)
        stream = events(self._connection, self._organization)
        held = await anext(stream, None)
        async for kept in self._checkpoints():
            said = kept.checkpoint.says
            if self._before is None:
                self._walk.signing_began_at = said.n
            self._follows(kept.checkpoint)
            while held is not None and held.n <= said.n:
                held = await self._event(held, stream)
            stored = self._walk.hash if self._walk.n == said.n else None
            if stored is None and self._walk.n > said.n:
                stored = await hash_at(self._connection, self._organization, said.n)
            self._walk.checkpoint(said, stored, kept.marks)
            self._stamp(kept.checkpoint, self._tokens.get(said.number))
            self.found.checkpoints += 1
        while held is not None:
            held = await self._event(held, stream)
        self._walk.end()
        await self._records.end()
        self._tell()

    async def _event(self, event: AuditEvent, stream: AsyncIterator[AuditEvent]) -> AuditEvent | None:
        self._walk.event(event)
        await self._records.event(event)
        self.found.events, self.found.last = self.found.events + 1, event
        return await anext(stream, None)

    def _tell(self) -> None:
        found, elsewhere = self.found, self._elsewhere
        found.certain, found.records = self._walk.certain, self._records.checked
        found.faults += [str(fault) for fault in self._walk.faults] + self._records.faults
        found.remarks += self._walk.remarks + self._records.remarks
        if not found.checkpoints:
            found.remarks.append(UNSIGNED)
        elif elsewhere.file is None and elsewhere.retained is None:
            found.remarks.append(ALONE)
        if elsewhere.trusted is None and found.checkpoints:
            found.remarks.append(UNTRUSTED)

    async def _keys(self) -> KeyRing:
        """The keys that count: those of the file, else of the table, as far as the trusted one vouches for them."""
        table = await table_keys(self._connection)
        file = [] if self._elsewhere.file is None else self._file_keys(self._elsewhere.file)
        if file and table != file[: len(table)]:
            self.found.faults.append("the keys in the table are not those of the file")
        return self._ring_of(file or table)

    def _file_keys(self, path: Path) -> list[KeyChange]:
        try:
            return file_keys(path)
        except KeyRefused as error:
            self.found.faults.append(f"keys in the file: {error}")
            return []

    def _ring_of(self, changes: Sequence[KeyChange]) -> KeyRing:
        trusted = self._elsewhere.trusted
        try:
            return KeyRing(changes, trusted)
        except KeyRefused as error:
            self.found.faults.append(f"keys: {error}")
            return KeyRing((), trusted)

    async def _checkpoints(self) -> AsyncIterator[KeptCheckpoint]:
        """Yield the checkpoints that are signed, from all places, in the order of their numbers; note what differs."""
        places = _Places(self._elsewhere.file is not None)
        file = self._of_file()
        kept = next(file, None)
        first = kept.checkpoint.says.number if kept is not None else 0
        async for one in table_checkpoints(self._connection, self._organization):
            number = self._number(one, "table")
            self._stamp(one, one.token)
            while kept is not None and (number is None or kept.checkpoint.says.number < number):
                if number is None:
                    break
                places.only_in_file(kept.checkpoint.says.number)
                yield kept
                kept = next(file, None)
            if number is None:
                continue
            is_kept = kept is not None and kept.checkpoint.says.number == number
            if is_kept and kept is not None:
                if kept.checkpoint.text != one.text:
                    places.differs(number)
                yield kept
                kept = next(file, None)
            else:
                places.only_in_table(number, kept is not None and number > first)
                yield KeptCheckpoint(one)
        while kept is not None:
            places.only_in_file(kept.checkpoint.says.number)
            yield kept
            kept = next(file, None)
        self.found.faults += places.faults()
        self.found.remarks += places.remarks()
        if (retained := self._at_broker()) is not None:
            yield KeptCheckpoint(retained)

    def _stamp(self, checkpoint: Checkpoint, token: bytes | None) -> None:
        """Check a time stamp, if there is one and its authorities are known."""
        if token is None or not self._elsewhere.authorities:
            return
        try:
            check_token(token, checkpoint.text, self._elsewhere.authorities)
        except TokenRefused as error:
            self.found.faults.append(f"time stamp: {error}")
        else:
            self.found.stamps += 1

    def _of_file(self) -> Iterator[KeptCheckpoint]:
        if self._elsewhere.file is None:
            return
        for kept in file_checkpoints(self._elsewhere.file, self._organization, self._size):
            if self._number(kept.checkpoint, "file") is not None:
                yield kept

    def _number(self, checkpoint: Checkpoint, place: str) -> int | None:
        """The checkpoint's number, if it is one, of this organization, and signed; else a fault, and None."""
        try:
            said = checkpoint.says
        except CheckpointUnreadable:
            self.found.faults.append(f"a checkpoint of the {place} cannot be read")
            return None
        if said.organization != self._organization:
            self.found.faults.append(f"checkpoint {said.number} of the {place} is another organization's")
            return None
        if not checkpoint.is_signed(self._ring):
            known = "with a wrong signature" if said.key in self._ring else f"signed by {said.key}, which nobody trusts"
            self.found.faults.append(f"checkpoint {said.number} of the {place} of {said.at} is {known}")
            return None
        return said.number

    def _follows(self, checkpoint: Checkpoint) -> None:
        """Note what is wrong between a checkpoint and the one before it."""
        said, before = checkpoint.says, self._before
        self._before = checkpoint
        if before is None:
            if said.number != 1:
                self.found.faults.append(f"checkpoints before {said.number} are missing")
            return
        earlier = before.says
        if said.number != earlier.number + 1:
            missing = f"{earlier.number + 1} to {said.number - 1}"
            self.found.faults.append(f"between checkpoints {earlier.number} and {said.number}, {missing} are missing")
        elif said.before != digest(before.text):
            self.found.faults.append(
                f"checkpoint {said.number} does not follow the checkpoint {earlier.number} there is"
            )
        if said.at < earlier.at:
            self.found.remarks.append(f"checkpoint {said.number} is of a time before checkpoint {earlier.number}")
        if self._ring.rank(said.key) < self._ring.rank(earlier.key):
            self.found.faults.append(f"checkpoint {said.number} is signed by key {said.key}, which had been replaced")

    def _at_broker(self) -> Checkpoint | None:
        """The broker's checkpoint, if it is newer than all others; note whether it should not be."""
        retained = self._elsewhere.retained
        if retained is None or (number := self._number(retained, "broker")) is None:
            return None
        newest = 0 if self._before is None else self._before.says.number
        if number > newest:
            self.found.faults.append(f"checkpoint {number} of the broker is nowhere else: there is {newest or 'none'}")
            return retained
        if number == newest and self._before is not None and self._before.text != retained.text:
            self.found.faults.append(f"checkpoint {number} of the broker is another one than that here")
        return None


class _Places:
    """Notes in which places checkpoints are missing, as spans of numbers."""

    def __init__(self, has_file: bool) -> None:
        self._has_file = has_file
        self._only_file: list[int] = []
        self._only_table: list[int] = []
        self._taken_out: list[int] = []
        self._differ: list[int] = []

    def only_in_file(self, number: int) -> None:
        _extend(self._only_file, number)

    def only_in_table(self, number: int, is_between: bool) -> None:
        """Note one that the file has not; `is_between` those that it has: no older copy of it lacks that one."""
        _extend(self._taken_out if is_between else self._only_table, number)

    def differs(self, number: int) -> None:
        _extend(self._differ, number)

    def faults(self) -> list[str]:
        said = []
        if self._only_file:
            said.append(f"{_span(self._only_file)} of the file: missing in the table")
        if self._has_file and self._taken_out:
            said.append(f"{_span(self._taken_out)} of the table: taken out of the file")
        if self._differ:
            said.append(f"{_span(self._differ)}: other ones in the table than in the file")
        return said

    def remarks(self) -> list[str]:
        return [f"{_span(self._only_table)}: not in the file"] if self._has_file and self._only_table else []


def _extend(span: list[int], number: int) -> None:
    """Note a number in [first, last, count]."""
    if span:
        span[1:] = [number, span[2] + 1]
    else:
        span += [number, number, 1]


def _span(span: list[int]) -> str:
    first, last, count = span
    return f"checkpoint {first}" if count == 1 else f"{count} checkpoints from {first} to {last}"
