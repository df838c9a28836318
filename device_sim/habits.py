"""How the devices of a fleet behave, and what they did."""

from __future__ import annotations

import random
from dataclasses import dataclass

from device_sim.frames import Format


@dataclass(frozen=True)
class Habits:
    """How all devices of a fleet behave."""

    format: Format = Format.MSGPACK
    block: int = 1
    """Frames a message."""
    replay_rate: float = 100.0
    """Frames a second from the store."""
    resend_after: float = 60.0
    """Seconds without receipt, request or PUBACK after which the newest frame of a boot is sent again: what the gateway
    misses before it is then a hole, and it asks."""
    duplicates: float = 0.0
    """Faults, each as a part of the frames: sent twice, sent out of order, not sent by itself, poison sent besides."""
    late: float = 0.0
    drop: float = 0.0
    poison: float = 0.0
    answer_after: float | None = 0.0
    """Seconds from the acceptance of a command to its end; None: commands are never answered."""


@dataclass
class DeviceCounts:
    """In frames where nothing else is said. produced + recovered = receipted + lost + what the stores keep."""

    produced: int = 0
    recovered: int = 0
    """Found in the stores at the start."""
    acknowledged: int = 0
    """By a PUBACK for the first time, or by a receipt."""
    receipted: int = 0
    lost: int = 0
    """Thrown away because the store was full; no receipt covered them."""
    not_delivered: int = 0
    """How often the broker said of a frame that nobody has it; each was sent again."""
    replayed: int = 0
    """Sent from the store."""
    asked: int = 0
    """Asked for by the gateway, and how many of these the device did not have any more."""
    unavailable: int = 0
    receipts: int = 0
    """Messages from the gateway."""
    backfills: int = 0
    commands: int = 0
    duplicates: int = 0
    """What the faults did: acknowledged copies, frames not sent by themselves, messages of poison."""
    held_back: int = 0
    poison: int = 0
    poison_acknowledged: int = 0
    reboots: int = 0
    clock_steps: int = 0
    events_produced: int = 0
    events_acknowledged: int = 0
    events_lost: int = 0
    """With the power, or because there were too many."""


def happens(part: float, chance: random.Random) -> bool:
    """Whether a fault that concerns a part of all happens this time."""
    return part > 0 and chance.random() < part
