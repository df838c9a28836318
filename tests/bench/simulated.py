"""How fast the simulator's vessels are: CPU of a frame of a large plant, and of a month of a small one.

`python -m tests.bench.simulated` prints a line of JSON.
"""

from __future__ import annotations

import json
import time

from device_sim.plant import Plant

BEGIN, DAY = 1_790_000_000_000, 86_400_000
VESSELS, GROUP, SECONDS = 5000, 100, 5


def main() -> None:
    begin = time.process_time()
    plant = Plant([f"sim-{number:04}" for number in range(1, VESSELS + 1)], 1, BEGIN)
    figures = {"made_s": time.process_time() - begin}
    groups = [slice(first, first + GROUP) for first in range(0, VESSELS, GROUP)]
    begin = time.process_time()
    for part in groups:
        plant.sample(part)
    figures["first_look_s"] = time.process_time() - begin
    begin = time.process_time()
    for second in range(SECONDS):
        for number, part in enumerate(groups):
            plant.advance(BEGIN + 1000 * second + 1000 * number // len(groups))
            plant.sample(part)
        plant.events()
    figures["frame_us"] = (time.process_time() - begin) / (VESSELS * SECONDS) * 1e6
    begin = time.process_time()
    small = Plant([f"sim-{number:04}" for number in range(1, 9)], 2, BEGIN)
    for row in range(8):
        small.history(row, BEGIN, BEGIN + 30 * DAY, 10_000)
    figures["month_of_8_s"] = time.process_time() - begin
    print(json.dumps({name: round(figure, 3) for name, figure in figures.items()}))


if __name__ == "__main__":
    main()
