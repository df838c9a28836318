"""Seals: texts with a digest over the stored frames of a device and an hour. Pure.

A seal covers the frames of an hour, by the time of the device, that were stored until its `at`; later ones are in its
next version, so that each version can be computed again for ever. The digest is SHA-256 over, one after the other,

1. the layouts text in UTF-8, and a line feed: canonical JSON of what `values` and `quality` of the frames mean,
   `{"layouts":[{"channels":[["temperature","°C"],["ph","pH"]],"layout":12}]}`, with all layouts of the device in
   ascending order, the channels in the order of their slots, and null for a unit that is not known. A unit is the one
   at the begin of the hour; where it changes within, times and units follow:
   `["od","g/L","2026-11-30T22:10:00.000000Z","mg/L"]`.
2. a whole binary COPY of PostgreSQL, in the order of time and layout_id, of the columns `time, layout_id, received_at,
   boot, seq, values, quality`.

So psql and sha256sum compute it. A frame was stored when it was received; but for one that was stored over ten minutes
later `stored_late.stored_at` counts, and for those of an import `imports.finished_at`.

Format of the COPY: PostgreSQL documentation, COPY, "Binary Format"; arrays: `array_send`. No part of it depends on the
edition of TimescaleDB, on compression, or on where a row lies.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from schema import times
from schema.errors import BiogateError
from schema.evidence.canonical import canonical, digest

SEAL_KIND = "biogate seal 1"
HOUR = timedelta(hours=1)
Unit = str | None


class SealUnreadable(BiogateError):
    """Raised for what is no text of a seal."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the text of a seal says. `digest` and `before` are hexadecimal; `before` is empty in the first version."""

    organization: int
    device: str
    hour: datetime
    version: int
    at: datetime
    frames: int
    digest: str
    before: str

    @property
    def text(self) -> str:
        hour = f"{times.text(self.hour)[:13]}:00:00Z"
        said = {
            name: getattr(self, name) for name in ("organization", "device", "version", "frames", "digest", "before")
        }
        return canonical({**said, "at": times.text(self.at), "hour": hour, "kind": SEAL_KIND})

    @classmethod
    def read(cls, text: str) -> Self:
        """The opposite of `text`. Raises SealUnreadable."""
        try:
            said = json.loads(text)
            plain = {name: said[name] for name in ("organization", "device", "version", "frames", "digest", "before")}
            seal = cls(**plain, at=times.parse_instant(said["at"]), hour=times.parse_instant(said["hour"]))
            is_right = seal.text == text
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SealUnreadable("no text of a seal") from error
        if not is_right:
            raise SealUnreadable("no text of a seal: another kind, or not canonical")
        return seal


@dataclass(frozen=True, slots=True)
class SealedChannel:
    """A channel of a layout: its unit by the standard list, and since when it had which other ones, in order."""

    name: str
    unit: Unit
    since: tuple[datetime, ...] = ()
    units: tuple[Unit, ...] = ()

    def within(self, hour: datetime) -> list[Unit]:
        """The name, the unit at the begin of the hour, and times and units of its changes within."""
        said: list[Unit] = [self.name, self.unit]
        for since, unit in zip(self.since, self.units, strict=True):
            if since <= hour:
                said[1] = unit
            elif since < hour + HOUR and unit != said[-1]:
                said += [times.text(since), unit]
        return said


def layouts_text(layouts: Mapping[int, Sequence[SealedChannel]], hour: datetime) -> str:
    """The text for the layouts of a device, by layout_id, in an hour."""
    said = [
        {"channels": [channel.within(hour) for channel in layouts[layout_id]], "layout": layout_id}
        for layout_id in sorted(layouts)
    ]
    return canonical({"layouts": said})


def pass_event(pass_id: int, seals: Iterable[Seal]) -> dict[str, Any]:
    """What the audit event of a pass says: how many seals there are, the digest over their texts, each with a line
    feed, in the order of device, hour and version; and of each device by `seal_name` the marks of its seals."""
    in_order = sorted(seals, key=lambda seal: (seal.device, seal.hour, seal.version))
    devices: dict[str, dict[str, str]] = defaultdict(dict)
    for seal in in_order:
        devices[seal.device][seal_name(seal.hour, seal.version)] = seal_mark(seal.text)
    whole = digest("".join(f"{seal.text}\n" for seal in in_order))
    return {"pass": pass_id, "seals": len(in_order), "digest": whole, "devices": devices}


def seal_name(hour: datetime, version: int) -> str:
    """The hour, and the version where it is not the first: `2026-11-30T22`, `2026-11-30T22/2`."""
    return times.text(hour)[:13] + (f"/{version}" if version > 1 else "")


def seal_mark(text: str) -> str:
    """The first half of the digest over the text of a seal. It tells which seal does not fit the digest of its pass."""
    return digest(text)[:32]


def hour_of(name: str) -> datetime:
    """The hour of a `seal_name`."""
    return times.parse_instant(f"{name[:13]}:00:00Z")
