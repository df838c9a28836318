"""docs/faults.md: what a run of the harness has shown, and the command that shows it again."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults.load import Load
from tests.faults.run import Result

HEAD = """\
# Faults

What became of every frame while things broke, measured by {how}.

The run has real processes: `biogate gateway` with its default settings, Mosquitto, PostgreSQL with TimescaleDB, and
{devices} simulated devices of {rate:g} frames/s each, {total:g} frames/s of 41 channels in all. The devices keep frames
on disk until a receipt covers them, and write every frame into a journal. Faults come at random moments, from a seed;
the load never stops. Afterwards the harness compares the journal with the database, value by value, and checks that

- every frame is stored exactly once, or is in quarantine with a reason, or is lost, by name and with a reason;
- received = committed + duplicate + quarantined + discarded + in flight, twice a second; and the totals in the database
  are exactly the number of rows;
- the gateway stayed under {memory:g} MB and ended with status 0 on SIGTERM, and every device got receipts for all its
  frames.

Machine: {machine}.

"""
COLUMNS = (
    "fault", "times", "produced", "stored", "quarantined", "lost", "twice or wrong", "duplicates caught",
    "asked again", "caught up after, s", "memory, MB", "",
)  # fmt: skip
FOOT = """
*quarantined*: frames of the devices, by reason; a device whose clock steps back produces two frames of one time, and
the first one stays. *twice or wrong*: frames stored more than once, with another value, or without being produced.
*duplicates caught*: items that came more than once, by redelivery, replay or malice, and were recognized. *asked
again*: backfill requests. *caught up after*: time from the end of the fault until no more frames were outstanding than
a second brings; median and worst. *memory*: the most that a gateway process had resident.
"""


def write(path: Path, results: Sequence[Result], load: Load, how: str, memory_mb: float) -> None:
    """The page, anew."""
    rows = [COLUMNS, tuple("---" if n in (0, 4, 11) else "---:" for n in range(len(COLUMNS)))]
    rows += [row(result) for result in results]
    head = HEAD.format(
        how=how, devices=load.devices, rate=load.rate, total=load.frames_s, memory=memory_mb, machine=machine()
    )
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    path.write_text(head + table + footnotes(results) + FOOT)


def row(result: Result) -> tuple[str, ...]:
    if result.skipped:
        return (result.scenario.what, *[""] * (len(COLUMNS) - 2), f"skipped: {result.skipped}")
    verdict = result.verdict
    return (
        result.scenario.what,
        f"{result.strikes}",
        f"{verdict.produced:,}",
        f"{verdict.stored:,}",
        by_reason(verdict.quarantined),
        f"{sum(verdict.lost.values()) + verdict.vanished:,}",
        f"{verdict.wrong:,}",
        f"{result.duplicates:,}",
        f"{result.asked:,}",
        spread(result.catch_up),
        f"{result.memory_mb:.0f}",
        "passed" if result.passed else "**failed**",
    )


def by_reason(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items())) or "0"


def spread(seconds: Sequence[float]) -> str:
    """Median and worst."""
    if not seconds:
        return "–"
    ordered = sorted(seconds)
    middle = ordered[len(ordered) // 2]
    return f"{middle:.1f}" if len(ordered) == 1 else f"{middle:.1f}, {ordered[-1]:.1f}"


def footnotes(results: Sequence[Result]) -> str:
    lines = []
    for result in results:
        if result.take_overs:
            took = spread(result.take_overs)
            lines.append(f"{result.scenario.what}: the standby committed its first batch after {took} s.")
        if result.poison:
            lines.append(f"{result.scenario.what}: {result.poison:,} of its messages are in quarantine.")
        lines += [f"{result.scenario.what}: **{complaint}**" for complaint in result.verdict.complaints]
    return "".join(f"\n- {line}" for line in lines) + "\n" if lines else ""


def machine() -> str:
    """In words, without names."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB of memory, Linux, Python {python}; all of it runs there"
