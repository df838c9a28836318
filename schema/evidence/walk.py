"""Compares a chain of events with the checkpoints that were signed of it. Pure: both are given in order.

event, event, checkpoint, event, checkpoint, … → faults, each with the checkpoint that has signed otherwise
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from schema.evidence.checkpoints import CheckpointText
from schema.evidence.events import AuditEvent, chained, seed

MOST_FAULTS = 1000
MARK = 8
"""Bytes of an event's hash that the file of checkpoints has, to find an event whose chain was computed again."""
MISSING = "missing at the end"
RESUME = "evidence resume"
"""The action by which a person says that what was signed is gone, such as after a restore."""


@dataclass(frozen=True, slots=True)
class ChainFault:
    """What is wrong with the events `first` to `last`. `signed_by` has signed otherwise; None: no checkpoint has."""

    first: int
    last: int
    words: str
    signed_by: CheckpointText | None = None

    def __str__(self) -> str:
        which = f"event {self.first}" if self.first == self.last else f"events {self.first} to {self.last}"
        by = self.signed_by
        signed = (
            f"; certain by checkpoint {by.number} of {by.at}, which has signed them otherwise"
            if by is not None
            else "; no checkpoint has signed them"
        )
        return f"{which}: {self.words}{signed}"


@dataclass(slots=True)
class ChainWalk:
    """Where a walk along a chain is, and what it has found."""

    organization: int
    signing_began_at: int = 0
    """The number of the event up to which the first checkpoint goes: the clock may have gone back before."""
    n: int = 0
    faults: list[ChainFault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    certain: CheckpointText | None = None
    """The newest checkpoint that agrees with the events."""
    hash: bytes = b""
    at: datetime | None = None
    _open: list[ChainFault] = field(default_factory=list)
    _broken: ChainFault | None = None
    _resumed: str | None = None
    _marks: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hash = seed(self.organization)

    def event(self, event: AuditEvent) -> None:
        """Take the next event."""
        if event.n <= self.n:
            self._found(event.n, event.n, "it stands there twice: one was inserted")
        elif event.n > self.n + 1:
            self._found(self.n + 1, event.n - 1, "missing")
        elif chained(self.hash, event.text) != event.hash:
            self._found(event.n, event.n, f"changed, or event {self.n} was: it does not follow that one")
        if self.at is not None and event.at < self.at and event.n > self.signing_began_at:
            self._found(event.n, event.n, f"back-dated: its time is before that of event {self.n}")
        self.n, self.hash, self.at = event.n, event.hash, event.at
        self._marks.append((event.n, event.hash[:MARK]))
        if f'"{RESUME}"' in event.text and event.fields["action"] == RESUME:
            said = event.fields
            self._resumed = f"told by {said['who']} in event {event.n}: {said['why']}"

    def checkpoint(self, said: CheckpointText, stored: bytes | None, marks: bytes = b"") -> None:
        """Take the next checkpoint; `stored` is the hash of the event that it names, None if there is none. `marks` are
        the first bytes of the hashes of the events since the checkpoint before."""
        if stored is not None and stored.hex() == said.hash:
            self._agree(said)
        elif self._broken is None:
            self._disagree(said, stored, marks)
        elif stored is None and self._broken.words == MISSING and said.n > self._broken.last:
            longer = replace(self._broken, last=said.n)
            self.faults[self.faults.index(self._broken)] = self._broken = longer
        self._sign(said)
        self._marks.clear()

    def end(self) -> None:
        """Nothing more comes."""
        self._sign(None)

    def _agree(self, said: CheckpointText) -> None:
        if self._broken is not None and self._resumed is not None:
            self.faults.remove(self._broken)
            self.remarks.append(f"{self._broken}; {self._resumed}")
            self._broken = None
        self.certain = said

    def _disagree(self, said: CheckpointText, stored: bytes | None, marks: bytes) -> None:
        before = 0 if self.certain is None else self.certain.n
        if stored is None:
            first = min(max(self.n, before) + 1, said.n)
            self._broken = ChainFault(first, said.n, MISSING, said)
        else:
            found = self._first_otherwise(before, marks)
            words = "not as signed: changed, inserted or deleted, and all hashes from there on computed again"
            self._broken = ChainFault(found or before + 1, found or said.n, words, said)
        self.faults.append(self._broken)

    def _first_otherwise(self, before: int, marks: bytes) -> int | None:
        signed = (marks[at : at + MARK] for at in range(0, len(marks), MARK))
        found = ((n, mark) for n, mark in self._marks if n > before)
        return next((n for (n, mark), was in zip(found, signed, strict=False) if mark != was), None)

    def _found(self, first: int, last: int, words: str) -> None:
        if len(self.faults) + len(self._open) < MOST_FAULTS:
            self._open.append(ChainFault(first, last, words))

    def _sign(self, said: CheckpointText | None) -> None:
        """Give what was found since the checkpoint before the checkpoint that comes after it."""
        for one in self._open:
            by = said if said is not None and one.first <= said.n else None
            self.faults.append(ChainFault(one.first, one.last, one.words, by))
        self._open.clear()
