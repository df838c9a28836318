"""What a formula of an alarm rule costs: `python -m tests.bench.formulas`."""

from __future__ import annotations

import timeit

from schema.alarms.expression import compile

VALUES: dict[str, float | None] = {"temperature": 38.2, "ph": 6.9, "agitation": 400.0, "stale": None}
FORMULAS = (
    "temperature > 38",
    "temperature > 38 and ph < 6.8",
    "abs(temperature - 37) > 1.5 and (ph < 6.5 or ph > 7.5)",
    "max(temperature, ph, agitation) / 2 > 10 ** -ph and not stale > 1",
)
TIMES = 200_000


def main() -> None:
    for text in FORMULAS:
        truth = compile(text).truth
        least = min(timeit.repeat("truth(values)", globals={"truth": truth, "values": VALUES}, number=TIMES, repeat=5))
        compiled = timeit.timeit("compile(text)", globals={"compile": compile, "text": text}, number=200) / 200
        print(f"{least / TIMES * 1e6:.3f} µs an evaluation, {compiled * 1e3:.2f} ms to compile: {text}")


if __name__ == "__main__":
    main()
