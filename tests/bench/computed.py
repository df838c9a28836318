"""What computed channels cost beside the reading of their inputs: `python -m tests.bench.computed`."""

from __future__ import annotations

import time

import numpy as np

from api.series.computed import Computation, Computing
from api.shapes.standard_computed import STANDARD_COMPUTED
from schema.times import MICROSECOND, parse_duration

NAMES = ("our", "kla", "growth_rate", "feed_a_since_start")
COUNT, BLOCK = 1_000_000, 50_000


def main() -> None:
    """A frame a second, all inputs in each."""
    rng = np.random.default_rng(1)
    for one in STANDARD_COMPUTED:
        if one.name not in NAMES:
            continue
        what = one.definition
        constants = {name: 2.0 if value is None else float(value) for name, value in what.constants.items()}
        age = parse_duration(what.max_age) // MICROSECOND
        inputs = tuple(what.inputs)
        computing = Computing(Computation(what.compiled, inputs, frozenset(), constants, {"start": 0}, age))
        values = rng.uniform(1, 20, (len(inputs), COUNT))
        frames, marks = np.arange(COUNT) * 1_000_000, np.zeros(values.shape, np.int16)
        begun = time.perf_counter()
        for first in range(0, COUNT, BLOCK):
            part = slice(first, first + BLOCK)
            computing.add(frames[part], values[:, part], marks[:, part])
        print(f"{one.name}: {time.perf_counter() - begun:.2f} s a million samples")


if __name__ == "__main__":
    main()
