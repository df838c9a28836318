"""Takes a message of the quarantine along the path of a new one: decode, admit, write, straight to the database.

A message is judged by the time at which it was received. Items of it that are stored already are duplicates, so that an
interrupted replay is simply repeated. A message that is rejected again is not stored twice: it stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.errors import Rejected
from gateway.intake.accounting import ItemCounts
from gateway.intake.admit import Admission, Missing
from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject
from gateway.items import EPOCH, Delivery, Item, LostFrames, NoBroker, Reject
from gateway.quarantine.clock import TimeUnit, in_milliseconds
from gateway.receipts.streams import Streams
from gateway.runtime.database import Pool, PoolConnection
from gateway.settings import REPLAY, Settings
from gateway.storage.write import Writer
from schema.reasons import Reason

CELL = REPLAY
"""The name under which intake_totals counts replayed items."""
ROW_TIMEOUT_S = 60
"""Time for one message: without a limit the writer tries for ever."""


class ReplayResult(NamedTuple):
    """Numbers of the items of a message by what became of them, and why some were rejected again."""

    shift_ms: float
    committed: int
    duplicate: int
    rejected: int
    why: str
    unit: TimeUnit

    @property
    def stored(self) -> int:
        return self.committed + self.duplicate


class Replay:
    def __init__(self, settings: Settings, pool: Pool, unit: TimeUnit) -> None:
        self._unit = unit
        self._settings = settings
        self._pool = pool
        self._registry = Registry(pool, settings.max_channels, settings.max_layouts)
        self._admission = Admission(settings, self._registry)
        self._streams = Streams(pool)
        self._rejected: list[Reject] = []

    async def start(self) -> None:
        """Prepare the database and load the registry. Raises SchemaBehind."""
        _, chunk_ms = await prepare(self._pool, self._settings)
        await self._registry.load()
        self._writer = Writer(
            self._pool,
            self._registry,
            {},
            cell=CELL,
            chunk_ms=chunk_ms,
            max_chunks=self._settings.batch_chunks,
            keep=self._leave,
        )

    async def replay(self, row: asyncpg.Record, shift_ms: float) -> ReplayResult:
        """Store the message of a row of the quarantine, with `shift_ms` added to all its times."""
        delivery = self._delivery(row, shift_ms)
        items = [_shifted(item, shift_ms) for item in await self._admit(delivery)]
        accepted = [item for item in items if not isinstance(item, Reject)]
        self._rejected = [item for item in items if isinstance(item, Reject)]
        outcome = await self._writer.write(accepted) if accepted else ItemCounts()
        committed, duplicate = outcome.committed.total(), outcome.duplicate.total()
        rejected = len(items) - committed - duplicate
        if not rejected:
            self._streams.note(accepted)
        return ReplayResult(shift_ms, committed, duplicate, rejected, self._why(), self._unit)

    async def look(self, row: asyncpg.Record, shift_ms: float) -> ReplayResult:
        """Find items that are rejected without asking the database, which might refuse more. It stores nothing."""
        delivery = self._delivery(row, shift_ms)
        try:
            items = await self._admit(delivery, intern=False)
        except Missing:  # its channels are new; nothing else is wrong
            items = []
        self._rejected = [item for item in items if isinstance(item, Reject)]
        return ReplayResult(shift_ms, 0, 0, len(self._rejected), self._why(), self._unit)

    async def merge(self) -> None:
        """Merge the seqs of stored frames into the accounts of their devices."""
        await self._streams.merge()

    async def _admit(self, delivery: Delivery, *, intern: bool = True) -> Sequence[Item]:
        if unknown := self._admission.unknown_devices([delivery.topic]):
            await self._registry.find(unknown)
        while True:
            try:
                return self._admission.admit(delivery)
            except Missing as missing:
                if not intern:
                    raise
                await self._registry.map([missing.wanted])
            except Exception as error:  # a defect of the gateway: it harms this message alone
                return [reject(delivery, Rejected(Reason.REFUSED, repr(error)))]

    async def _leave(
        self, connection: PoolConnection, cell: str, rejects: Sequence[Reject], outcome: ItemCounts
    ) -> None:
        """Remember rejects, and store none: the quarantine has the message already."""
        self._rejected += rejects

    def _why(self) -> str:
        reasons = dict.fromkeys(f"{reject.reason}: {reject.detail}" for reject in self._rejected)
        return "; ".join([*reasons][:3])

    def _delivery(self, row: asyncpg.Record, shift_ms: float) -> Delivery:
        """The message, received `shift_ms` earlier: times are checked against the time of receipt, and putting it back
        equals putting them forward."""
        received_ms = (row["received_at"] - EPOCH) / timedelta(milliseconds=1)
        fault = row["detail"] if row["reason"] == Reason.MALFORMED_PACKET else None
        payload = in_milliseconds(row["payload"], row["content_type"], self._unit)
        return Delivery(NoBroker(), 0, row["topic"], payload, row["content_type"], received_ms - shift_ms, fault)


def _shifted(item: Item, shift_ms: float) -> Item:
    if isinstance(item, Reject):
        return item
    received_ms = item.received_ms + shift_ms
    if isinstance(item, LostFrames):
        return msgspec.structs.replace(item, received_ms=received_ms)
    return msgspec.structs.replace(item, t=item.t + shift_ms, received_ms=received_ms)
