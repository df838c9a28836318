"""I2: received = committed + duplicate + quarantined + discarded + in flight, as metrics and in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from gateway import metrics
from gateway.database import Transaction
from gateway.items import ITEM_KINDS, Item, ItemKind
from schema.reasons import Reason

KIND = attrgetter("kind")


@dataclass
class Outcome:
    """What became of items, by kind; and the reasons of those in quarantine."""

    committed: Counter[ItemKind] = field(default_factory=Counter)
    duplicate: Counter[ItemKind] = field(default_factory=Counter)
    quarantined: Counter[ItemKind] = field(default_factory=Counter)
    discarded: Counter[ItemKind] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    refused: Counter[Reason] = field(default_factory=Counter)
    """Reasons of those discarded."""
    lost: int = 0
    """Frames now known to be lost; they never arrived, so they are in none of the counts."""

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.committed + other.committed,
            self.duplicate + other.duplicate,
            self.quarantined + other.quarantined,
            self.discarded + other.discarded,
            self.reasons + other.reasons,
            self.refused + other.refused,
            self.lost + other.lost,
        )


def received(items: Sequence[Item]) -> None:
    """Items were taken from messages: they are in flight."""
    for kind, count in Counter(map(KIND, items)).items():
        metrics.RECEIVED.labels(kind).inc(count)
        metrics.IN_FLIGHT.labels(kind).inc(count)


def settled(items: Sequence[Item], outcome: Outcome) -> None:
    """The transaction of these items has committed: they are in flight no more."""
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
    for reason, count in outcome.reasons.items():
        metrics.QUARANTINED_BY_REASON.labels(reason).inc(count)
    for reason, count in outcome.refused.items():
        metrics.DISCARDED_BY_REASON.labels(reason).inc(count)


async def record(connection: Transaction, cell: str, outcome: Outcome) -> int:
    """Add to the cell's totals, in the transaction that made them true. The transaction's id."""
    counts = [
        [counter[kind] for kind in ITEM_KINDS]
        for counter in (outcome.committed, outcome.duplicate, outcome.quarantined, outcome.discarded)
    ]
    return int(
        await connection.fetchval(
            """with added as (
                   update intake_totals t
                      set committed = t.committed + a.committed, duplicate = t.duplicate + a.duplicate,
                          quarantined = t.quarantined + a.quarantined, discarded = t.discarded + a.discarded
                     from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                       as a (kind, committed, duplicate, quarantined, discarded)
                    where t.cell = $1 and t.kind = a.kind
                      and a.committed + a.duplicate + a.quarantined + a.discarded > 0)
               select pg_current_xact_id()::text""",
            cell,
            list(ITEM_KINDS),
            *counts,
        )
    )
