"""Phases told by data where no event tells them: where a setpoint or a rate becomes another one and stays so. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from api.series.samples import Floats

SIDE = 6
"""Buckets before and after an edge whose medians are compared: what lasts shorter is no change."""
LEAST = 0.1
"""The part of a channel's whole range by which its level has to change."""
ZERO = 0.01
"""The part of the greatest value below which a rate counts as off."""


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A channel's level became another one at the begin of this bucket."""

    bucket: int
    channel: str
    before: float
    after: float
    size: float
    """part of the channel's whole range"""

    @property
    def words(self) -> str:
        return f"{self.channel} from {self.before:.4g} to {self.after:.4g}"

    @property
    def name(self) -> str:
        """What the phase that begins here is called."""
        subject = self.channel.removesuffix("_setpoint").removesuffix("_rate").replace("_", " ")
        if self.before == 0 and self.after > 0:
            return f"{subject} on"
        if self.after == 0 and self.before > 0:
            return f"{subject} off"
        return f"{subject} {'up' if self.after > self.before else 'down'}"


def changes(channel: str, levels: Floats) -> list[LevelChange]:
    """Return where the level changes: `levels` are averages of buckets of one width, NaN where there was no sample.

    The median of SIDE buckets before an edge is compared with that of as many after it; where they differ by LEAST of
    the whole range, the edge of the greatest difference in a row of such edges is a change. Values below ZERO of the
    greatest one are 0. A ramp is one change, in its middle.
    """
    known = levels[~np.isnan(levels)]
    if len(known) < 2 * SIDE or (span := float(known.max() - known.min())) == 0.0:
        return []
    plain = np.where(np.abs(levels) < ZERO * np.abs(known).max(), 0.0, levels)
    found: list[LevelChange] = []
    waiting: LevelChange | None = None
    for edge in range(SIDE, len(plain) - SIDE + 1):
        change = _change(channel, plain, edge, span)
        if change is None:
            found += [waiting] if waiting else []
            waiting = None
        elif waiting is None or change.size > waiting.size:
            waiting = change
    return found + ([waiting] if waiting else [])


def joined(found: list[LevelChange], within: int = SIDE) -> list[list[LevelChange]]:
    """Return changes of all channels that are at most `within` buckets apart together, the greatest first in each."""
    groups: list[list[LevelChange]] = []
    for change in sorted(found, key=lambda one: one.bucket):
        if groups and change.bucket - groups[-1][0].bucket <= within:
            groups[-1].append(change)
        else:
            groups.append([change])
    return [sorted(group, key=lambda one: -one.size) for group in groups]


def _change(channel: str, levels: Floats, edge: int, span: float) -> LevelChange | None:
    sides = levels[edge - SIDE : edge], levels[edge : edge + SIDE]
    if any(np.isnan(side).all() for side in sides):
        return None
    before, after = (float(np.nanmedian(side)) for side in sides)
    size = abs(after - before) / span
    if size < LEAST:
        return None
    jump = abs(float(np.nan_to_num(levels[edge] - levels[edge - 1]))) / span
    return LevelChange(edge, channel, before, after, size + jump)
