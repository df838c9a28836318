"""B1 to B3, B5 to B10: messages through broker, gateway and database, beside a reference that only receives."""

from __future__ import annotations

import statistics
from collections import defaultdict

from tests.bench import runs
from tests.bench.figures import Figure, figure, quotient
from tests.bench.packets import Shape
from tests.bench.session import GATEWAY, NAIVE, NOBODY, PLAIN, REFERENCE, Bench, rates, say
from tests.bench.stored import stored
from tests.bench.writer import samples_per_s

STORED = "on top of what is stored"
BACKLOG = "a backlog"
NAIVE_SHARE = 5
"""The naive pipeline gets a fraction of the load: it is slow."""


async def b0(bench: Bench) -> list[Figure]:
    """Not of the gateway: that the load is no bottleneck."""
    ours, _ = await bench.at_least(1)
    for _ in range(bench.size.repeats):
        await bench.run(PLAIN, NOBODY, bench.plain())
    alone = bench.runs[PLAIN][NOBODY]
    fastest = max(rates(ours))
    busy = statistics.median(run.cpu_us["load"] * run.rate / 1e6 for run in alone)
    return [
        figure(
            "B0",
            "the load without a subscriber, over the gateway's best",
            "×",
            [rate / fastest for rate in rates(alone)],
            1.2,
            note=f"the load uses {busy:.0%} of a core then: what bounds it is the broker",
        )
    ]


async def b1(bench: Bench) -> list[Figure]:
    ours, theirs = await bench.at_least(bench.size.pairs)
    what = "frames/s, 500 devices, over `mosquitto_sub -q 1`"
    return [quotient("B1", what, rates(ours), rates(theirs), 1.0, floor=0.8, note=medians(bench, PLAIN))]


async def b2(bench: Bench) -> list[Figure]:
    case = "single values as JSON"
    for _ in range(bench.size.repeats):
        await bench.pair(case, bench.plain(shape=Shape("json", 1)))
    ours, theirs = bench.runs[case][GATEWAY], bench.runs[case][REFERENCE]
    what = "the same, a message with one value as JSON"
    return [quotient("B2", what, rates(ours), rates(theirs), 1.0, floor=0.8, note=medians(bench, case))]


async def b3(bench: Bench) -> list[Figure]:
    ours, _ = await bench.at_least(bench.size.repeats)
    for _ in range(bench.size.repeats):
        await bench.run(PLAIN, NAIVE, bench.plain(frames=bench.size.frames // NAIVE_SHARE))
    naive = statistics.median(run.cpu_us[NAIVE.split()[0]] for run in bench.runs[PLAIN][NAIVE])
    costs = [run.cpu_us["gateway"] for run in ours]
    return [
        figure("B3a", "gateway CPU a frame in B1", "µs", costs, 12, at_least=False),
        figure(
            "B3b",
            "over that of aiomqtt with copy_records_to_table",
            "×",
            [cost / naive for cost in costs],
            0.25,
            at_least=False,
            note=f"{naive:.0f} µs",
        ),
    ]


async def b5(bench: Bench) -> list[Figure]:
    ours, _ = await bench.at_least(1)
    rate = round(statistics.median(rates(ours)) / 2, -2)
    case = "at half the rate"
    for _ in range(bench.size.repeats):
        run = await bench.run(case, GATEWAY, bench.plain(frames=int(rate * bench.size.lag_s), rate=rate))
        say(f"lag: median {run.lag_ms[0]:.0f} ms, 99 % within {run.lag_ms[1]:.0f} ms")
    lags = [run.lag_ms for run in bench.runs.pop(case)[GATEWAY]]
    note = f"at {rate:,.0f} frames/s"
    return [
        figure("B5a", "publish to committed, median", "ms", [lag[0] for lag in lags], 60, at_least=False, note=note),
        figure("B5b", "publish to committed, p99", "ms", [lag[1] for lag in lags], 150, at_least=False, note=note),
    ]


async def b6(bench: Bench) -> list[Figure]:
    ours, _ = await bench.at_least(1)
    most = [run.memory_mb for run in ours]
    return [figure("B6", "most resident memory of the gateway in B1", "MB", most, 100, at_least=False)]


async def b7(bench: Bench) -> list[Figure]:
    others = {"10,000 devices": bench.plain(devices=10_000), "1 device": bench.plain(devices=1, warm_up=100)}
    ours: defaultdict[str, list[float]] = defaultdict(list)
    theirs: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(bench.size.repeats):
        plain = await bench.pair(PLAIN, bench.plain())
        for case, load in others.items():
            pair = await bench.pair(case, load)
            for quotients, run, beside in zip((ours, theirs), pair, plain, strict=True):
                quotients[case].append(run.rate / beside.rate)
    return [
        quotient(
            name,
            f"B1 with {case} over B1, by the same of `mosquitto_sub`",
            ours[case],
            theirs[case],
            0.9,
            note=medians(bench, case),
        )
        for name, case in zip(("B7a", "B7b"), others, strict=True)
    ]


async def b8(bench: Bench) -> list[Figure]:
    url = await stored(bench)
    ours, empty = [], []
    for _ in range(bench.size.repeats):
        empty.append(await bench.run(PLAIN, GATEWAY, bench.plain()))
        bench.lives += 1
        ours.append(await bench.run(STORED, GATEWAY, bench.plain(boot=1 + bench.lives), url))
    what = f"B1 with {bench.size.stored * 20 / 1e6:g} million samples in 30 chunks, over an empty table"
    return [quotient("B8", what, rates(ours), rates(empty), 0.85)]


async def b9(bench: Bench) -> list[Figure]:
    case = "blocks of 100 frames"
    ours, alone = [], []
    load = bench.plain(shape=Shape("msgpack", 20, 100), frames=bench.size.frames * 2, warm_up=1)
    for _ in range(bench.size.repeats):
        ours.append((await bench.run(case, GATEWAY, load)).rate * load.shape.channels)
        alone.append((await samples_per_s(bench))[0])
    note = f"{statistics.median(ours) / 1e6:.2f} million samples/s"
    return [quotient("B9", "blocks of 100 frames: samples/s over B4's", ours, alone, 0.6, note=note)]


async def b10(bench: Bench) -> list[Figure]:
    ours, live = [], []
    for _ in range(bench.size.repeats):
        live.append(await bench.run(PLAIN, GATEWAY, bench.plain()))
        run = await runs.catch_up(bench.plant, bench.plain(frames=bench.size.backlog))
        bench.keep(BACKLOG, GATEWAY, run)
        ours.append(run)
    what = f"drain of {bench.size.backlog:,} waiting frames over B1"
    return [quotient("B10", what, rates(ours), rates(live), 0.9)]


def medians(bench: Bench, case: str) -> str:
    """Of both, in frames/s."""
    ours, theirs = (statistics.median(rates(bench.runs[case][who])) for who in (GATEWAY, REFERENCE))
    return f"{ours:,.0f} against {theirs:,.0f} frames/s"
