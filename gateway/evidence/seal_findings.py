"""What a verification of seals finds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schema.evidence.seals import HOUR


class SealedDevice(NamedTuple):
    """A device whose seals are looked at."""

    device_id: int
    name: str
    organization_id: int


class Fault(NamedTuple):
    """What does not hold, of a device and an hour, or of more hours from that one on."""

    device: str
    hour: datetime
    what: str


@dataclass
class Verified:
    """What was found: numbers of hours, of frames in those that were computed, and what does not hold."""

    hours: int = 0
    frames: int = 0
    dropped: int = 0
    """Hours whose frames retention has dropped: their seals hold, and cannot be computed again."""
    late: int = 0
    """Hours with frames that came after the newest seal, and wait for the next."""
    unsealed: int = 0
    """Hours with frames that are not sealed yet."""
    unsigned: int = 0
    """Seals that a signed checkpoint does not vouch for yet."""
    faults: list[Fault] = field(default_factory=list)

    def add(self, other: Verified) -> None:
        for name in ("hours", "frames", "dropped", "late", "unsealed", "unsigned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults += other.faults


def together(faults: Sequence[Fault]) -> list[tuple[Fault, int]]:
    """The faults, those of hours that follow each other and are the same as one, with their number of hours."""
    found: list[tuple[Fault, int]] = []
    open_: dict[tuple[str, str], int] = {}
    for fault in sorted(faults):
        key = fault.device, fault.what
        last = open_.get(key)
        if last is not None and found[last][0].hour + found[last][1] * HOUR == fault.hour:
            found[last] = found[last][0], found[last][1] + 1
        else:
            open_[key] = len(found)
            found.append((fault, 1))
    return found
