"""Which phase of its run a device is in: the confirmed one, else the one that it told last. Pure.

Times are in s since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class ConfirmedPhase(NamedTuple):
    """A phase that a person confirmed on a run of the device."""

    name: str
    begins: float
    ends: float | None
    """Its end, else that of the run; None: it lasts."""
    is_open: bool
    """Whether it has no end of its own: another phase that the device tells later ends it."""
    confirmed_at: float


class PhaseSince(NamedTuple):
    """A phase with the time of its begin; `name` None: none."""

    since: float
    name: str | None


UNTOLD = PhaseSince(0.0, None)


def in_force(confirmed: Sequence[ConfirmedPhase], told: PhaseSince, at: float) -> PhaseSince:
    """Return the phase that counts at `at`: `confirmed` in the order of time, as it was known then, before `told`, the
    newest phase by an event of the device. Where nothing is confirmed, what the device told last goes on."""
    last = next((one for one in reversed(confirmed) if one.begins <= at and one.confirmed_at <= at), None)
    if last is None:
        return told
    if last.ends is not None and last.ends <= at:
        return PhaseSince(max(told.since, last.ends), told.name)
    if last.is_open and told.since > last.begins and told.name != last.name:
        return told
    return PhaseSince(last.begins, last.name)


class PhaseFollower:
    """The phase that a device is in. `memory` is what `memory()` returned, which may have been through JSON, or that of
    a version that knew no confirmed phases."""

    def __init__(self, memory: Mapping[str, Any], confirmed: Sequence[ConfirmedPhase] = ()) -> None:
        self.confirmed = confirmed
        """In the order of time."""
        self.told = PhaseSince(*memory.get("told", memory.get("phase", UNTOLD)))
        """The newest phase by an event of the device."""
        self._until: float = memory.get("followed_until", 0.0)

    def tell(self, told: PhaseSince) -> None:
        """Take a phase by an event of the device; one older than the newest is ignored."""
        if told.since >= self.told.since:
            self.told = told

    def follow(self, at: float) -> PhaseSince:
        """Return the phase in force at `at`, the database's time; never at an earlier one than before."""
        self._until = max(self._until, at)
        return in_force(self.confirmed, self.told, self._until)

    def memory(self) -> dict[str, Any]:
        return {"told": self.told, "followed_until": self._until}


def changes(
    confirmed: Sequence[ConfirmedPhase], told: Sequence[PhaseSince], begin: float, end: float
) -> Iterator[PhaseSince]:
    """Yield the phases in force from `begin` to `end`, each at its begin or at `begin`; none is not yielded before the
    first. `told` are all events of the device in the order of time, from the last one before `begin` on."""
    edges = {edge for one in confirmed for edge in (one.begins, one.ends) if edge is not None}
    edges |= {one.since for one in told}
    name, newest, rest = None, UNTOLD, list(reversed(told))
    for at in sorted({begin, *(edge for edge in edges if begin < edge < end)}):
        while rest and rest[-1].since <= at:
            newest = rest.pop()
        found = in_force(confirmed, newest, at)
        if found.name != name:
            name = found.name
            yield PhaseSince(at, name)
