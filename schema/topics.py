"""Topic names of the MQTT contract, version 1."""

from __future__ import annotations

import re
from enum import StrEnum

ROOT = "bioreactors"
ALARMS = "alarms"
EVIDENCE = "evidence"
EVIDENCE_KEYS = f"{EVIDENCE}/keys"
"""The topic on which the keys that sign the record are retained, a JSON array."""
END = r"$(?!\n)"
"""The end of a text in a pattern, for Python and JSON Schema: Python's `$` alone allows for a line feed after it."""
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Kind(StrEnum):
    """The kinds of messages that a device publishes; the value follows the device's name in the topic."""

    TELEMETRY = "telemetry"
    HISTORY = "history"
    STATUS = "status"
    EVENT = "event"
    BACKFILL_RESULT = "backfill/result"
    COMMAND_RESULT = "command/result"


class Down(StrEnum):
    """The kinds of messages that a device receives; the value follows the device's name in the topic."""

    RECEIPT = "receipt"
    BACKFILL = "backfill"
    COMMAND = "command"
    IDENTITY = "identity"


KINDS = frozenset(kind.value for kind in Kind)

SUBSCRIPTIONS = tuple(f"{ROOT}/+/{kind}" for kind in Kind)
"""All topic filters that the intake subscribes to."""


def topic(device: str, kind: Kind | Down) -> str:
    """The topic on which `device` publishes, or receives, messages of `kind`."""
    return f"{ROOT}/{device}/{kind}"


def alarm_topic(device: str, rule: str) -> str:
    """The topic on which the newest state of an alarm is retained."""
    return f"{ALARMS}/{device}/{rule}"


def checkpoint_topic(organization: int) -> str:
    """The topic on which the newest checkpoint of an organization's audit trail is retained."""
    return f"{EVIDENCE}/{organization}/checkpoint"


def parse(name: str) -> tuple[str, Kind] | None:
    """Device name and kind of a topic, or None if devices do not publish on it. The device name is not validated."""
    root, _, rest = name.partition("/")
    device, _, kind = rest.partition("/")
    return (device, Kind(kind)) if root == ROOT and kind in KINDS else None


def is_device_name(name: str) -> bool:
    """Whether `name` has 1 to 64 letters, digits, dots, underscores and hyphens, and begins with a letter or digit."""
    return DEVICE_NAME.fullmatch(name) is not None
