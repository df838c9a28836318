"""A vessel of a plant at an hour of a run, and what its channels show."""

from __future__ import annotations

import numpy as np

from device_sim.plant import Plant
from device_sim.process.grid import HOUR
from device_sim.process.readings import COLUMN
from device_sim.vessels import Floats

NOON = 1_790_000_000_000
MINUTE = 60_000


class OneVessel:
    def __init__(self, organism: str, name: str = "v-1", minutes: int = 240) -> None:
        """Let a vessel begin its first whole run, and go on for so many minutes at most."""
        self.plant = Plant([name], 1, NOON, organisms=[organism])
        self.events = self.plant.events()
        while not any(
            event.type == "run" and event.data["state"] == "running" and event.t > NOON for event in self.events
        ):
            self.plant.advance(self.plant.now + minutes * MINUTE)
            self.events += self.plant.events()
        self.begin = [event.t for event in self.events if event.type == "run" and event.data["state"] == "running"][-1]

    def when(self, phase: str) -> int:
        """Return when a phase of the run began, in ms; the time moves on to it."""
        while True:
            for event in self.events:
                if event.t >= self.begin and event.type == "phase" and event.data["phase"] == phase:
                    return event.t
            self.plant.advance(self.plant.now + round(HOUR))
            self.events += self.plant.events()

    def go(self, at: int) -> None:
        self.plant.advance(at)
        assert self.plant.now == at, "the time is over"

    def shown(self, channel: str, begin: int, end: int, every: int = MINUTE) -> Floats:
        column: Floats = self.plant.history(0, begin, end, every)[:, COLUMN[channel]]
        return column

    def at(self, channel: str, time: int) -> float:
        """Return a value of a channel without most of its noise: the mean of a minute."""
        return float(np.nanmean(self.shown(channel, time - 30_000, time + 30_000, 5000)))
