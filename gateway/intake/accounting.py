"""Counts what becomes of items, as guarantee 2 says:
received = committed + duplicate + quarantined + discarded + in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add, attrgetter

from gateway import metrics
from gateway.items import ITEM_KINDS, Item, ItemKind, NumberedFrames
from gateway.runtime.database import PoolConnection
from schema.reasons import Reason

KIND = attrgetter("kind")
ADD = """
with added as (
    update intake_totals
       set committed = committed + $3, duplicate = duplicate + $4, quarantined = quarantined + $5,
           discarded = discarded + $6
     where cell = $1 and kind = $2)
select pg_current_xact_id()::text"""


@dataclass
class ItemCounts:
    """Counts of what became of items, by kind, and the reasons of items in quarantine."""

    committed: Counter[ItemKind] = field(default_factory=Counter)
    duplicate: Counter[ItemKind] = field(default_factory=Counter)
    quarantined: Counter[ItemKind] = field(default_factory=Counter)
    discarded: Counter[ItemKind] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    refused: Counter[Reason] = field(default_factory=Counter)
    """Reasons of the discarded items."""
    unkept: list[NumberedFrames] = field(default_factory=list)
    """The frames of the discarded items: no receipt may cover them."""
    lost: int = 0
    """Frames now known to be lost. They never arrived, so that no other count has them."""
    transaction_id: int = field(default=0, compare=False)
    """The newest transaction that made these counts true; 0: none yet."""
    unbelieved: int = 0
    """Devices that gave up frames far above all that have arrived."""

    def __add__(self, other: ItemCounts) -> ItemCounts:
        both = ItemCounts(*map(add, vars(self).values(), vars(other).values()))
        both.transaction_id = max(self.transaction_id, other.transaction_id)
        return both


def received(items: Sequence[Item]) -> None:
    """Count items that were taken from messages as received and in flight."""
    for kind, count in Counter(map(KIND, items)).items():
        metrics.RECEIVED.labels(kind).inc(count)
        metrics.IN_FLIGHT.labels(kind).inc(count)


def settled(items: Sequence[Item], outcome: ItemCounts) -> None:
    """Count what became of `items`, whose transaction is committed with this `outcome`; they are in flight no more."""
    for kind, count in Counter(map(KIND, items)).items():
        metrics.IN_FLIGHT.labels(kind).dec(count)
    for counter, counts in (
        (metrics.COMMITTED, outcome.committed),
        (metrics.DUPLICATE, outcome.duplicate),
        (metrics.QUARANTINED, outcome.quarantined),
        (metrics.DISCARDED, outcome.discarded),
    ):
        for kind, count in counts.items():
            counter.labels(kind).inc(count)
    metrics.LOST_FRAMES.inc(outcome.lost)
    metrics.LOSSES_UNBELIEVED.inc(outcome.unbelieved)
    for reason, count in outcome.reasons.items():
        metrics.QUARANTINED_BY_REASON.labels(reason).inc(count)
    for reason, count in outcome.refused.items():
        metrics.DISCARDED_BY_REASON.labels(reason).inc(count)


async def record(connection: PoolConnection, cell: str, outcome: ItemCounts) -> int:
    """Add `outcome` to the cell's totals, in the transaction that it counts; return the transaction's id."""
    counters = outcome.committed, outcome.duplicate, outcome.quarantined, outcome.discarded
    counted = [kind for kind in ITEM_KINDS if any(counter[kind] for counter in counters)]
    transaction_id = 0
    for kind in counted or ITEM_KINDS[:1]:  # nearly always one kind; a statement for all kinds takes twice as long
        counts = [counter[kind] for counter in counters]
        transaction_id = int(await connection.fetchval(ADD, cell, kind, *counts))
    return transaction_id
