"""Topic names of the MQTT contract, version 1."""

from __future__ import annotations

import re
from enum import StrEnum

ROOT = "bioreactors"
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Kind(StrEnum):
    """What a device publishes: the last level of its topics."""

    TELEMETRY = "telemetry"
    HISTORY = "history"
    STATUS = "status"
    EVENT = "event"


KINDS = frozenset(kind.value for kind in Kind)

SUBSCRIPTIONS = tuple(f"{ROOT}/+/{kind}" for kind in Kind)
"""Everything the intake subscribes to."""


def topic(device: str, kind: Kind) -> str:
    """The topic on which `device` publishes `kind`."""
    return f"{ROOT}/{device}/{kind}"


def parse(name: str) -> tuple[str, Kind] | None:
    """Device name and kind of a topic, or None if it is none of ours. The device name is not validated."""
    match name.split("/"):
        case [root, device, kind] if root == ROOT and kind in KINDS:
            return device, Kind(kind)
    return None


def is_device_name(name: str) -> bool:
    """1 to 64 of letters, digits, dot, underscore and hyphen, beginning with a letter or digit."""
    return DEVICE_NAME.fullmatch(name) is not None
