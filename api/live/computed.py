"""The newest sample of a computed channel, made of the newest samples of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from api.queries.devices import Channel
from api.series.computed import Computing
from api.series.copied import NOT_SENT
from schema import times


class LiveSample(NamedTuple):
    value: float | None
    quality: int | None
    time: str | None


NOTHING = LiveSample(None, None, None)


def is_live(channel: Channel) -> bool:
    """Whether the newest samples of its inputs say what it is: `rate` and `total` need those before."""
    return channel.computed is not None and not channel.computed.what.formula.over_time


def newest(channel: Channel, samples: Mapping[str, LiveSample]) -> LiveSample:
    """Return the sample of a live channel at the last instant at which an input has one; without any, nothing."""
    computed = channel.computed
    assert computed is not None
    found: list[tuple[int, int, float, int]] = []
    for row, one in enumerate(computed.inputs):
        it = samples.get(one.name, NOTHING)
        if it.time is None:
            continue
        at, value = times.microseconds(times.parse_instant(it.time)), it.value
        if one.shown is not None:
            if not one.shown.has(at):
                continue
            value = one.shown.value(at, value)
        found.append((at, row, math.nan if value is None else value, it.quality or 0))
    if not found:
        return NOTHING
    found.sort()
    values = np.full((len(computed.inputs), len(found)), np.nan)
    marks = np.full(values.shape, NOT_SENT, np.int16)
    for column, (_, row, value, quality) in enumerate(found):
        values[row, column], marks[row, column] = value, quality
    made, said = Computing(computed.what).add(np.array([one[0] for one in found]), values, marks)
    result = float(made[-1])
    time = times.text(times.from_microseconds(found[-1][0]))
    return LiveSample(None if math.isnan(result) else result, int(said[-1]), time)
