"""The habits of the devices of a fleet, and counts of what they did."""

from __future__ import annotations

import random
from dataclasses import dataclass

from device_sim.frames import Format


@dataclass(frozen=True)
class Habits:
    """The behaviour of all devices of a fleet."""

    format: Format = Format.MSGPACK
    block: int = 1
    """Frames in a message."""
    replay_rate: float = 100.0
    """Frames a second that a device sends from its store."""
    resend_after: float = 60.0
    """Seconds without receipt, request or PUBACK after which the newest frame of a boot is sent again."""
    duplicates: float = 0.0
    """Faults, each as a share of the frames: sent twice, out of order, only on request; poison sent in addition."""
    late: float = 0.0
    drop: float = 0.0
    poison: float = 0.0
    answer_after: float | None = 0.0
    """Seconds from the acceptance of a command to its end; None: commands are never answered."""


@dataclass
class DeviceCounts:
    """Counts of the fleet, in frames unless said otherwise. produced + recovered = receipted + lost + kept."""

    produced: int = 0
    recovered: int = 0
    """Frames found in the stores at the start."""
    acknowledged: int = 0
    """Frames acknowledged for the first time, by a PUBACK or by a receipt."""
    receipted: int = 0
    lost: int = 0
    """Frames thrown away because the store was full; no receipt covered them."""
    not_delivered: int = 0
    """Times the broker reported a frame without a subscriber; each was sent again."""
    replayed: int = 0
    """Frames sent from the store."""
    asked: int = 0
    """Frames that the gateway asked for, and how many of them the device no longer had."""
    unavailable: int = 0
    receipts: int = 0
    """Messages from the gateway, by kind."""
    backfills: int = 0
    commands: int = 0
    duplicates: int = 0
    """Effects of the faults: acknowledged copies, frames not sent by themselves, poison messages."""
    held_back: int = 0
    poison: int = 0
    poison_acknowledged: int = 0
    reboots: int = 0
    clock_steps: int = 0
    events_produced: int = 0
    events_acknowledged: int = 0
    events_lost: int = 0
    """Events lost with the power, or because there were too many."""


def happens(part: float, chance: random.Random) -> bool:
    """Whether a fault with the share `part` happens this time."""
    return part > 0 and chance.random() < part
