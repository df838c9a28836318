"""The phases of a run: those that are confirmed, and proposals for the times between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class RunPhase:
    """A phase of a run from `begins` to `ends`, which is not part of it; `ends` None: it lasts."""

    name: str
    begins: datetime
    ends: datetime | None
    origin: Literal["person", "event", "data"]
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None
    evidence: str | None = None

    @property
    def is_confirmed(self) -> bool:
        return self.confirmed_by is not None


def by_events(events: Iterable[tuple[datetime, str, str]], ends: datetime | None) -> list[RunPhase]:
    """Return the phases that events (time, phase, device) tell, in the order of time. Where several devices report the
    same phase one after the other, it begins with the first."""
    found: list[RunPhase] = []
    for time, phase, device in events:
        if found and found[-1].name == phase:
            continue
        if found:
            if found[-1].begins == time:  # two devices that differ, at the same time: the later name counts
                found.pop()
            else:
                found[-1] = replace(found[-1], ends=time)
        found.append(RunPhase(phase, time, ends, "event", evidence=f"event of {device}"))
    return found


def merged(confirmed: Sequence[RunPhase], proposed: Sequence[RunPhase], ends: datetime | None) -> list[RunPhase]:
    """Return confirmed phases and the proposals that begin outside of them, in the order of time.

    A confirmed phase without an end lasts to the begin of the next phase, confirmed or proposed, else to the end of the
    run. A proposal that reaches into a confirmed phase ends where that begins.
    """
    closed = [
        one if one.ends is not None else replace(one, ends=_next(one, (*confirmed, *proposed), ends))
        for one in confirmed
    ]
    found = list(closed)
    for one in proposed:
        if any(it.begins <= one.begins and (it.ends is None or one.begins < it.ends) for it in closed):
            continue
        later = [it.begins for it in closed if it.begins > one.begins and (one.ends is None or it.begins < one.ends)]
        found.append(replace(one, ends=min(later)) if later else one)
    return sorted(found, key=lambda one: one.begins)


def _next(phase: RunPhase, others: Sequence[RunPhase], ends: datetime | None) -> datetime | None:
    later = [one.begins for one in others if one.begins > phase.begins and (one.is_confirmed or one.name != phase.name)]
    return min(later, default=ends)
