"""An admission in memory, and messages for it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from gateway.errors import Rejected
from gateway.intake.admit import Admission, Missing
from gateway.intake.registry import check_channels
from gateway.items import Channels, Device, Item, Reject
from schema.reasons import Reason
from schema.topics import Kind, topic
from tests.gateway.material import NOW_MS, delivery, mapping, settings

AGE_MS, SKEW_MS = 3600_000.0, 60_000.0
HISTORY, STATUS, EVENT = (topic("r1", kind) for kind in (Kind.HISTORY, Kind.STATUS, Kind.EVENT))
TELEMETRY = topic("r1", Kind.TELEMETRY)


class Remembered:
    """Devices in memory: r1 alone, whose frames have a layout each, as wide as they are."""

    def __init__(self) -> None:
        self._r1 = Device(1, "r1")

    def device(self, name: str) -> Device | None:
        return self._r1 if name == "r1" else None

    def map(self, device: Device, channels: Channels) -> None:
        try:
            check_channels(channels, 256)
            device.mappings[channels] = mapping(channels, range(len(channels)), len(channels))
        except Rejected as rejected:
            device.mappings[channels] = rejected


class Intake:
    def __init__(self) -> None:
        self._known = Remembered()
        chosen = settings(max_age_s=int(AGE_MS / 1000), max_skew_s=int(SKEW_MS / 1000), max_event_bytes=256)
        self._admission = Admission(chosen, self._known)

    def raw(self, payload: bytes, to: str = TELEMETRY, **fields: Any) -> list[Item]:
        message = delivery(payload, to, **fields)
        try:
            return list(self._admission.admit(message))
        except Missing as missing:
            self._known.map(*missing.wanted)
        return list(self._admission.admit(message))

    def many(self, message: object, to: str = TELEMETRY) -> list[Item]:
        return self.raw(msgpack.packb(message), to)

    def one(self, message: object, to: str = TELEMETRY) -> Item:
        (item,) = self.many(message, to)
        return item

    def reason(self, message: object, to: str = TELEMETRY) -> Reason | None:
        """Why it is rejected; None if it is not."""
        item = self.one(message, to)
        return item.reason if isinstance(item, Reject) else None


@pytest.fixture(scope="module")
def intake() -> Intake:
    return Intake()


def one_frame(t: float = NOW_MS, **fields: Any) -> dict[str, Any]:
    return {"t": t, "v": {"ph": 7.0, "foam": None}} | fields
