"""Topic names of the MQTT contract, version 1."""

from __future__ import annotations

import re
from enum import StrEnum

ROOT = "bioreactors"
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Kind(StrEnum):
    """What a device publishes: what follows its name in the topic."""

    TELEMETRY = "telemetry"
    HISTORY = "history"
    STATUS = "status"
    EVENT = "event"
    BACKFILL_RESULT = "backfill/result"
    COMMAND_RESULT = "command/result"


class Down(StrEnum):
    """What a device is told, in the same way."""

    RECEIPT = "receipt"
    BACKFILL = "backfill"
    COMMAND = "command"
    IDENTITY = "identity"


KINDS = frozenset(kind.value for kind in Kind)

SUBSCRIPTIONS = tuple(f"{ROOT}/+/{kind}" for kind in Kind)
"""Everything the intake subscribes to."""


def topic(device: str, kind: Kind | Down) -> str:
    """The topic on which `device` publishes `kind`, or is told it."""
    return f"{ROOT}/{device}/{kind}"


def parse(name: str) -> tuple[str, Kind] | None:
    """Device name and kind of a topic, or None if it is none that devices publish on. The name is not validated."""
    root, _, rest = name.partition("/")
    device, _, kind = rest.partition("/")
    return (device, Kind(kind)) if root == ROOT and kind in KINDS else None


def is_device_name(name: str) -> bool:
    """1 to 64 of letters, digits, dot, underscore and hyphen, beginning with a letter or digit."""
    return DEVICE_NAME.fullmatch(name) is not None
