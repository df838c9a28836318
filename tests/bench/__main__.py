"""`make bench`: how fast it all is, beside references, against targets and against the recorded baseline.

Exit status 0: all was measured and no frame was lost; 1: something failed; 2: wrong usage. A figure that misses its
target, or is worse than the baseline, is said and does not change the status: another machine has other figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from deploy.stack.paths import CHECKOUT, STACK
from tests.bench import (
    beside,
    exports,
    figures,
    history,
    intake,
    interface,
    live,
    reading,
    report,
    seals,
    stages,
    web,
    writer,
)
from tests.bench.figures import Figure, Findings
from tests.bench.plant import Plant, plant
from tests.bench.session import GATEWAY, NAIVE, PLAIN, SIZES, Bench, rates
from tests.faults.report import machine

BASELINE = Path(__file__).with_name("baseline.json")
PAGE = CHECKOUT / "docs" / "performance.md"
PLOT = PAGE.with_suffix(".svg")
LATEST = STACK / "bench"

ALL: dict[str, Callable[[Bench], Awaitable[list[Figure]]]] = {
    "B1": intake.b1,
    "B2": intake.b2,
    "B3": intake.b3,
    "B0": intake.b0,
    "B4": writer.b4,
    "B5": intake.b5,
    "B6": intake.b6,
    "B7": intake.b7,
    "B9": intake.b9,
    "B10": intake.b10,
    "B12": interface.b12,
    "B8": intake.b8,
    "B11": interface.b11,
    "B14": reading.b14,
    "B13": web.b13,
    "B20": live.b20,
    "B21": live.b21,
    "B31": beside.b31,
    "B30": exports.b30,
    "B50": seals.b50,
    "B40": history.b40,
}
"""In this order: what fills the database comes last."""


def main(
    only: Annotated[str, typer.Option(help="figures with commas between, like B1,B5")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="small loads, few repetitions: whether it works")] = False,
    full: Annotated[bool, typer.Option("--full", help="all loads as large as the targets say; an hour")] = False,
    record: Annotated[bool, typer.Option("--record", help="make this the baseline, and write the page")] = False,
) -> None:
    """Measure, print a table, write JSON and a plot, compare with the baseline."""
    chosen = only.upper().split(",") if only else list(ALL)
    if unknown := set(chosen) - set(ALL):
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if quick and full:
        raise typer.BadParameter("either quick or full")
    if record and (only or quick):
        raise typer.BadParameter("a baseline is of all figures, and not of a quick bench")
    size = SIZES["quick" if quick else "full" if full else "default"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("pogo_core").setLevel(logging.ERROR)  # it names every migration, as a warning
    begun = time.monotonic()
    findings = Findings(f"{size.name}: {size.frames:,} frames a run", machine())
    with plant() as ground:
        asyncio.run(measure(ground, findings, size.name, [name for name in ALL if name in chosen]))
    tell(findings)
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes")
    if record and not findings.failures:
        findings.write(BASELINE)
        recorded = Findings.read(BASELINE)  # rounded, as every later reader has it
        PLOT.write_text(report.plot(recorded.rates))
        PAGE.write_text(report.with_part(PAGE.read_text(), recorded))
        print(f"recorded: {BASELINE.relative_to(CHECKOUT)}, {PAGE.relative_to(CHECKOUT)} and its plot")
    raise typer.Exit(1 if findings.failures else 0)


async def measure(ground: Plant, findings: Findings, size: str, names: list[str]) -> None:
    async with contextlib.AsyncExitStack() as resources:
        bench = Bench(ground, SIZES[size], resources)
        for name in names:
            try:
                findings.figures += await ALL[name](bench)
            except Exception as error:  # whatever it is, the others can still be measured
                traceback.print_exc()
                if ground.log.exists():
                    print(f"the gateway's last words:\n{ground.log.read_text()[-2000:]}", file=sys.stderr)
                findings.failures[name] = (str(error) or type(error).__name__).splitlines()[0]
        findings.rates = {case: {who: rates(some) for who, some in runs.items()} for case, runs in bench.runs.items()}
        findings.costs_us = costs(bench)


def costs(bench: Bench) -> dict[str, float]:
    """Where the CPU of a frame goes: each process in B1, and the gateway's by stage."""
    found: dict[str, float] = {}
    for who in bench.runs[PLAIN]:
        if who in (GATEWAY, NAIVE):
            some = bench.runs[PLAIN][who]
            for process in some[0].cpu_us:
                middle = sorted(run.cpu_us[process] for run in some)[len(some) // 2]
                found[process if who == GATEWAY else f"{process}, with the naive pipeline"] = middle
    if GATEWAY in bench.runs[PLAIN]:
        found |= {f"of the gateway: {stage}": cost for stage, cost in stages.costs(20).items()}
        rest = found["gateway"] - sum(cost for name, cost in found.items() if name.startswith("of the gateway"))
        found["of the gateway: sockets, event loop, the database's protocol, receipts"] = rest
    return found


def tell(findings: Findings) -> None:
    LATEST.mkdir(parents=True, exist_ok=True)
    findings.write(LATEST / "latest.json")
    (LATEST / "latest.svg").write_text(report.plot(findings.rates))
    print(f"\n{findings.machine}\n\n{report.table(findings)}\n")
    for name, cost in findings.costs_us.items():
        print(f"{name:75}{cost:7.2f} µs of CPU a frame")
    print(f"\nwritten: {(LATEST / 'latest.json').relative_to(CHECKOUT)} and the plot beside it")
    if not BASELINE.exists():
        print("there is no baseline yet: --record makes one")
        return
    baseline = Findings.read(BASELINE)
    worse = figures.compare(findings, baseline)
    print(f"against the baseline ({baseline.size}): " + ("nothing is worse" if not worse else "worse:"))
    print("".join(f"  {sentence}\n" for sentence in worse), end="")


if __name__ == "__main__":
    typer.run(main)
