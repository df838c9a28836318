"""The units that an organization says its channels have, of many devices at once, as the view `unit_spans` has them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from schema import times
from schema.channels import UnitSpan

FROM_THE_BEGINNING = "-infinity"
History = list[UnitSpan]


@dataclass(frozen=True, slots=True)
class Units:
    channels: Mapping[int, Mapping[int | None, History]]
    """By channel_id: the histories of devices by device_id, and under None that of the organization."""

    @classmethod
    def of(cls, said: str) -> Units:
        """Read a JSON array of [channel_id, device_id, since, unit], in the order of since."""
        found: dict[int, dict[int | None, History]] = defaultdict(lambda: defaultdict(list))
        for channel_id, device_id, since, unit in json.loads(said):
            begin = times.FIRST if since == FROM_THE_BEGINNING else datetime.fromisoformat(since)
            found[channel_id][device_id].append(UnitSpan(begin, unit or None))
        return cls(found)

    def at(self, device_id: int, channel_id: int, standard: str | None, time: str | None) -> str | None:
        """The unit of a sample of that time; None: that holds now. `standard` is that of the standard list."""
        histories = self.channels[channel_id]
        history = histories.get(device_id) or histories.get(None) or [UnitSpan(times.FIRST, standard)]
        if time is None:
            return history[-1].unit
        instant = datetime.fromisoformat(time)
        return next((span.unit for span in reversed(history) if span.since <= instant), standard)
