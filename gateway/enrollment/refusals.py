"""Counts refused requests, and tells the audit trail once a minute how many were refused for each reason, and which
controllers got a challenge and proved nothing: one that cannot believe the challenge says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway import metrics
from gateway.enrollment import store
from gateway.runtime.database import Pool

EVERY_S = 60.0
SHOWN = 5
"""Most serial numbers that an audit event names."""
REMEMBERED = 200
"""Most serial numbers that are remembered as challenged; the oldest is forgotten."""
SILENT_S = 20.0
"""Time from the challenge after which a controller without a proof is noted."""
NO_PROOF = "no-proof"


@dataclass
class Tally:
    """Requests refused for one reason since the last audit event of that reason."""

    count: int = 0
    serials: dict[str, None] = field(default_factory=dict)
    due: float = float("-inf")


class Refusals:
    def __init__(self, cell: str, pool: Pool) -> None:
        self._cell = cell
        self._pool = pool
        self._tallies: dict[str, Tally] = {}
        self._challenged: dict[str, float] = {}

    def note(self, reason: str, serial: str | None = None, *, recorded: bool = False) -> None:
        """Count a refused request. `recorded`: the audit trail has it already."""
        metrics.ENROLL_REFUSED.labels(reason).inc()
        if recorded:
            return
        tally = self._tallies.setdefault(reason, Tally())
        tally.count += 1
        if serial is not None and len(tally.serials) < SHOWN:
            tally.serials[serial] = None

    def challenged(self, serial: str, now: float) -> None:
        """Remember that a challenge was sent at `now`."""
        if serial not in self._challenged:
            self._challenged[serial] = now
            if len(self._challenged) > REMEMBERED:
                del self._challenged[next(iter(self._challenged))]

    async def write(self, now: float) -> None:
        """Write the tallies that are due at `now` (s) into the audit trail. If that fails, they stay noted."""
        due = [serial for serial, at in self._challenged.items() if now - at >= SILENT_S]
        if due:
            for serial in await store.silent(self._pool, due, now - min(self._challenged.values()) + 1):
                self.note(NO_PROOF, serial)
            for serial in due:
                del self._challenged[serial]
        for reason, tally in list(self._tallies.items()):
            if tally.count and now >= tally.due:
                self._tallies[reason] = later = Tally(due=now + EVERY_S)
                try:
                    await store.refused(self._pool, self._cell, reason, tally.count, list(tally.serials))
                except BaseException:  # a write that is cancelled, too, must lose no tally
                    later.count += tally.count
                    later.serials |= tally.serials
                    later.due = tally.due
                    raise
