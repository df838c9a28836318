"""Writes a batch to the database, however many tries that takes.

A part of a batch touches a bounded number of chunks. A part with a key that is stored already takes the conflict path;
an item that the database refuses for its content is found by splitting, and goes to quarantine; any other failure is
tried again for ever, slowly and loudly if a person has to do something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import structlog

from gateway import metrics
from gateway.errors import LeadLost
from gateway.intake.accounting import ItemCounts
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject_item
from gateway.items import Frame, Item, Reject, by_type
from gateway.runtime.database import Pool, Trouble, Troubles, retry_until_it_works
from gateway.runtime.triage import TriageVerdict, sqlstate, triage
from gateway.storage.quota import Keep
from gateway.storage.transaction import KEEP, Beside, CommitUnknown, committed, probe, store
from schema.reasons import Reason

log = structlog.get_logger()

STUBBORN = 5
"""Failures in a row after which a part is split, whatever the error, if the database works otherwise. Splitting helps
with some errors; with others it costs little: the first half is tried until it works, then the rest follows whole."""


class Writer:
    def __init__(
        self,
        pool: Pool,
        registry: Registry,
        troubles: Troubles,
        *,
        cell: str,
        chunk_ms: float,
        max_chunks: int,
        keep: Keep = KEEP,
        imported: Beside | None = None,
    ) -> None:
        """`chunk_ms` is the hypertable's chunk interval; `keep` stores rejects; `troubles` says when a write fails;
        `imported` keeps the account of an import."""
        self._pool = pool
        self._registry = registry
        self._cell = cell
        self._chunk_ms = chunk_ms
        self._max_chunks = max_chunks
        self._troubles = troubles
        self._keep = keep
        self._imported = imported

    async def write(self, items: Sequence[Item]) -> ItemCounts:
        """Store all items; return what became of them when all are committed. Raises LeadLost, as `imported` does."""
        outcome = ItemCounts()
        for part in self._parts(items):
            outcome += await self._persist(part)
        return outcome

    def _parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Yield parts of at most `max_chunks` chunks, usually one: a COPY holds a lock and memory for each chunk."""
        frames = by_type(items).frames
        times = [frame.t for frame in frames] or [0.0]
        if max(times) // self._chunk_ms - min(times) // self._chunk_ms < self._max_chunks:
            yield items
            return
        chunks = (np.array(times) // self._chunk_ms).astype(np.int64)
        distinct = np.unique(chunks)
        if len(distinct) <= self._max_chunks:
            yield items
            return
        if others := [item for item in items if not isinstance(item, Frame)]:
            yield others
        for start in range(0, len(distinct), self._max_chunks):
            first, last = distinct[start], distinct[min(start + self._max_chunks, len(distinct)) - 1]
            yield [frames[n] for n in np.flatnonzero((chunks >= first) & (chunks <= last)).tolist()]

    async def _persist(self, items: Sequence[Item], patience: int = STUBBORN) -> ItemCounts:
        """Try one transaction until it is committed, or split the items after `patience` failures."""
        trouble = Trouble(self._troubles, "write")
        conflicting = False
        while True:
            try:
                outcome = await store(
                    self._pool,
                    self._registry,
                    self._cell,
                    items,
                    conflicting=conflicting,
                    keep=self._keep,
                    imported=self._imported,
                )
            except LeadLost:
                raise
            except CommitUnknown as unknown:
                transaction_id = unknown.outcome.transaction_id
                log.warning("no answer to COMMIT", transaction_id=transaction_id, error=str(unknown.reason))
                if await self._committed(transaction_id):
                    trouble.reset()
                    return unknown.outcome
                error = unknown.reason
            except Exception as failure:
                error = failure
            else:
                trouble.reset()
                return outcome
            verdict = triage(error)
            if verdict is TriageVerdict.CONFLICT and not conflicting:
                conflicting = True
                continue
            metrics.WRITE_FAILURES.labels(sqlstate(error)).inc()
            # a row of the quarantine is bytes and clean text: the database never refuses it for its content
            divisible = len(items) > 1 or not (verdict is TriageVerdict.TRANSIENT or isinstance(items[0], Reject))
            if divisible and verdict in (TriageVerdict.DATA, TriageVerdict.CONFLICT):
                return await self._split(items, error, patience)
            wait = trouble.failed(error)
            stubborn = trouble.failures >= (patience if len(items) > 1 else STUBBORN)
            if divisible and stubborn and await self._database_works():
                return await self._split(items, error, patience=1)
            await asyncio.sleep(wait)

    async def _split(self, items: Sequence[Item], error: Exception, patience: int) -> ItemCounts:
        """Store the items in halves; an item that is refused alone goes to quarantine."""
        if len(items) > 1:
            middle = len(items) // 2
            return await self._persist(items[:middle], patience) + await self._persist(items[middle:], patience)
        (item,) = items
        assert not isinstance(item, Reject)
        return await self._persist([reject_item(item, Reason.REFUSED, f"{sqlstate(error)}: {error}")])

    async def _committed(self, transaction_id: int) -> bool:
        while True:
            answer = await retry_until_it_works(
                self._troubles, "learn what became of a commit", committed, self._pool, self._cell, transaction_id
            )
            if answer is not None:
                return answer
            await asyncio.sleep(0.1)

    async def _database_works(self) -> bool:
        """Whether the statements of a batch work without items."""
        try:
            await probe(self._pool, self._cell, self._keep)
        except Exception:  # any failure means that it does not work
            return False
        return True
