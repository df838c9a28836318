"""A bench under way: its size, its plant, and the runs it has made so far, which several figures share."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace

from tests.bench import runs
from tests.bench.plant import Load, Plant
from tests.bench.runs import Run

GATEWAY, REFERENCE, NAIVE, NOBODY = "gateway", "mosquitto_sub", "naive pipeline", "no subscriber"
PLAIN = "500 devices"
"""The case of B1."""


@dataclass(frozen=True)
class Size:
    name: str
    frames: int
    """Of a run."""
    pairs: int
    """Runs of B1 and its reference."""
    repeats: int
    """Of the others."""
    stored: int
    """Frames in the table before B8 and B11."""
    backlog: int
    """Frames of B10."""
    lag_s: float
    """Length of a run of B5."""


SIZES = {
    "quick": Size("quick", 40_000, 2, 1, 120_000, 40_000, 4),
    "default": Size("default", 300_000, 5, 3, 1_000_000, 300_000, 10),
    "full": Size("full", 1_200_000, 7, 3, 10_000_000, 1_000_000, 60),
}


@dataclass
class Bench:
    plant: Plant
    size: Size
    resources: contextlib.AsyncExitStack
    """What is kept until the end."""
    runs: defaultdict[str, defaultdict[str, list[Run]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    stored_url: str | None = None
    lives: int = 0

    def plain(self, **changes: object) -> Load:
        """The load of B1, or one that differs in something."""
        return replace(Load(frames=self.size.frames), **changes)  # type: ignore[arg-type]

    async def run(self, case: str, receiver: str, load: Load, database_url: str | None = None) -> Run:
        """Make one, keep it and say it."""
        match receiver:
            case "gateway":
                run = await runs.by_gateway(self.plant, load, database_url)
            case "mosquitto_sub":
                run = await runs.by_subscriber(self.plant, load)
            case "naive pipeline":
                run = await runs.by_naive(self.plant, load)
            case _:
                run = await runs.by_nobody(self.plant, load)
        self.keep(case, receiver, run)
        return run

    def keep(self, case: str, receiver: str, run: Run) -> None:
        self.runs[case][receiver].append(run)
        cpu = ", ".join(f"{name} {cost:.1f}" for name, cost in run.cpu_us.items())
        say(f"{case}, {receiver}: {run.rate:,.0f} frames/s; µs of CPU a frame: {cpu}")

    async def pair(self, case: str, load: Load) -> tuple[Run, Run]:
        """Gateway and reference side by side; who is first changes."""
        order = [GATEWAY, REFERENCE] if len(self.runs[case][GATEWAY]) % 2 else [REFERENCE, GATEWAY]
        pair = {receiver: await self.run(case, receiver, load) for receiver in order}
        return pair[GATEWAY], pair[REFERENCE]

    async def at_least(self, pairs: int) -> tuple[list[Run], list[Run]]:
        """So many pairs of B1, made now if there are not; of the gateway, and of the reference."""
        while len(self.runs[PLAIN][GATEWAY]) < pairs:
            await self.pair(PLAIN, self.plain())
        return self.runs[PLAIN][GATEWAY], self.runs[PLAIN][REFERENCE]


def rates(some: list[Run]) -> list[float]:
    return [run.rate for run in some]


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
