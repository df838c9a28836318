"""What an organization says of channels, of many devices at once: the same as the views `unit_spans`, `channel_terms`.

Nearly always it says nothing; to join the views to every channel of every answer would take longer than the answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from api.series.corrected import Corrected, Correction
from schema import times
from schema.channels import ChannelTerms, Kind, UnitSpan

FROM_THE_BEGINNING = "-infinity"


@dataclass(frozen=True, slots=True)
class Units:
    channels: Mapping[int, Mapping[int | None, list[UnitSpan]]]
    """By channel_id: the histories of devices by device_id, and under None that of the organization."""

    @classmethod
    def of(cls, said: str | None) -> Units:
        """Read a JSON array of [channel_id, device_id, since, unit], in the order of since."""
        found: dict[int, dict[int | None, list[UnitSpan]]] = {}
        for channel_id, device_id, since, unit in json.loads(said or "[]"):
            begin = times.FIRST if since == FROM_THE_BEGINNING else datetime.fromisoformat(since)
            histories = found.setdefault(channel_id, defaultdict(list))
            histories[device_id].append(UnitSpan(begin, unit or None))
        return cls(found)

    def history(self, device_id: int, channel_id: int) -> list[UnitSpan]:
        """The units of a channel of a device over time; empty: that of the standard list."""
        histories = self.channels.get(channel_id, {})
        return histories.get(device_id) or histories.get(None) or []

    def at(self, device_id: int, channel_id: int, standard: str | None, time: str | None) -> str | None:
        """The unit of a sample of that time; None: that holds now. `standard` is that of the standard list."""
        history = self.history(device_id, channel_id) or [UnitSpan(times.FIRST, standard)]
        if time is None:
            return history[-1].unit
        instant = datetime.fromisoformat(time)
        return next((span.unit for span in reversed(history) if span.since <= instant), standard)


class Description(NamedTuple):
    """A row of `channel_descriptions`."""

    title: str | None
    kind: Kind | None
    low: float | None
    high: float | None
    range_unit: str | None
    """The unit of `low` and `high`, empty if it is not known; None: there is no range."""
    decimals: int | None
    step: bool | None


NOTHING = Description(None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Said:
    """All that an organization says of its channels."""

    units: Units
    descriptions: Mapping[tuple[int, int | None], Description]
    """By channel_id and device_id (None: of all devices)."""
    corrected: Mapping[tuple[int, int], Corrected]
    """By device_id and channel_id."""
    _common: dict[int, ChannelTerms] = field(default_factory=dict)
    """By channel_id, for all devices of which nothing of their own is said: nearly all."""

    @classmethod
    def of(cls, units: str | None, descriptions: str | None, corrections: str | None) -> Said:
        """Read the JSON arrays of the statement `said`."""
        rows = json.loads(descriptions or "[]")
        found: dict[tuple[int, int], tuple[Correction, ...]] = {}
        for device, channel, *rest in json.loads(corrections or "[]"):
            found[device, channel] = (*found.get((device, channel), ()), Correction(*rest))
        return cls(
            Units.of(units),
            {(channel, device): Description(*rest) for channel, device, *rest in rows},
            {of: Corrected(some) for of, some in found.items()},
        )

    def terms(self, device_id: int, standard: Mapping[str, Any]) -> ChannelTerms:
        """What holds of a channel of a device now: what is said of the device, of all devices, in the standard list."""
        number = standard["channel_id"]
        if (number, device_id) in self.descriptions or device_id in self.units.channels.get(number, ()):
            return self._terms(device_id, standard)
        found = self._common.get(number)
        if found is None:
            found = self._common[number] = self._terms(device_id, standard)
        return found

    def _terms(self, device_id: int, standard: Mapping[str, Any]) -> ChannelTerms:
        number = standard["channel_id"]
        own = self.descriptions.get((number, device_id), NOTHING)
        common = self.descriptions.get((number, None), NOTHING)
        history = self.units.history(device_id, number)
        unit = history[-1].unit if history else standard["unit"]
        listed = Description(
            title=None,
            kind=standard["kind"],
            low=standard["low"],
            high=standard["high"],
            range_unit=standard["unit"] or "",
            decimals=standard["decimals"],
            step=standard["step"],
        )
        said = own, common, listed
        low, high = next(((it.low, it.high) for it in said if it.range_unit == (unit or "")), (None, None))
        kind = _first(*(it.kind for it in said))
        return ChannelTerms(
            unit=unit,
            description=standard["description"],
            title=_first(own.title, common.title),
            kind=kind,
            low=low,
            high=high,
            decimals=_first(*(it.decimals for it in said)),
            step=_first(*(it.step for it in said), kind == "SP"),
            units=tuple(history),
        )


def _first(*said: Any) -> Any:
    return next((one for one in said if one is not None), None)
