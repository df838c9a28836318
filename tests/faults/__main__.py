"""`make faults`: torment a running plant, compare what it stored with what was produced, write docs/faults.md.

Exit status 0: everything held; 1: something did not; 2: wrong usage.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.stack.paths import CHECKOUT
from tests.faults import report
from tests.faults.load import Load
from tests.faults.run import Conditions, Result, run
from tests.faults.scenarios import ALL, Scenario
from tests.faults.servers import Site, in_own_mounts, site

PAGE = CHECKOUT / "docs" / "faults.md"


def main(
    only: Annotated[list[str] | None, typer.Option(help="a fault by name; may be given several times")] = None,
    seed: Annotated[int, typer.Option(help="the same seed, the same moments")] = 1,
    repeat: Annotated[int, typer.Option(min=1, help="runs of each fault, each with a fresh plant")] = 1,
    devices: Annotated[int, typer.Option(min=1, help="simulated devices")] = 50,
    rate: Annotated[float, typer.Option(min=0.1, help="frames a second and device")] = 20.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="one strike each, a fifth as long; no page is written")
    ] = False,
    names: Annotated[bool, typer.Option("--list", help="only say which faults there are")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="keep logs, stores and journals of failed runs")] = False,
    write: Annotated[Path | None, typer.Option(help="where the page goes; the docs for a complete run")] = None,
) -> None:
    """Torment a running plant and account for every frame."""
    if names:
        for scenario in ALL:
            print(f"{scenario.name:15} {scenario.what}")
        raise typer.Exit()
    unknown = set(only or ()) - {scenario.name for scenario in ALL}
    if unknown:
        raise typer.BadParameter(f"no such fault: {', '.join(sorted(unknown))}; see --list", param_hint="--only")
    in_own_mounts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [scenario for scenario in ALL if not only or scenario.name in only]
    load = Load(devices, rate, seed)
    conditions = Conditions(load, *((0.2, 1) if quick else (1.0, None)))
    logging.getLogger("pogo_core").setLevel(logging.ERROR)  # it names every migration, as a warning
    begun = time.monotonic()
    with site(f"faults-{os.getpid()}") as ground:
        results = [torment(ground, scenario, conditions, repeat, seed, keep) for scenario in chosen]
    failed = [result.scenario.name for result in results if not result.passed]
    minutes = (time.monotonic() - begun) / 60
    options = "" if (devices, rate) == (50, 20.0) else f" --devices {devices} --rate {rate:g}"
    how = f'`make faults ARGS="--seed {seed} --repeat {repeat}{options}"`, {minutes:.0f} minutes'
    page = write or (None if only or quick else PAGE)
    if page:
        report.write(page, results, load, how, conditions.memory_mb)
    print(f"{minutes:.1f} minutes; " + (f"failed: {', '.join(failed)}" if failed else "everything held"))
    raise typer.Exit(1 if failed else 0)


def torment(ground: Site, scenario: Scenario, conditions: Conditions, repeat: int, seed: int, keep: bool) -> Result:
    """All runs of a scenario."""
    result = Result(scenario)
    for number in range(repeat):
        print(f"{time.strftime('%H:%M:%S')} {scenario.name}: {scenario.what}", flush=True)
        directory = Path(tempfile.mkdtemp(prefix=f"biogate-faults-{scenario.name}-"))
        one = Result(scenario)
        try:
            one = asyncio.run(run(ground, scenario, conditions, f"{seed} {scenario.name} {number}", directory))
        except (Exception, asyncio.CancelledError) as error:
            one.verdict.complaints.append(f"the run broke off: {type(error).__name__}: {error}")
        result += one
        say(one)
        if keep and not one.passed:
            print(f"    kept: {directory}", flush=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return result


def say(result: Result) -> None:
    cells = report.row(result)
    text = ", ".join(f"{name} {cell}" for name, cell in zip(report.COLUMNS[1:], cells[1:], strict=True) if cell)
    print(f"    {text}; {result.seconds:.0f} s", flush=True)
    if result.take_overs:
        print(f"    took over after {report.spread(result.take_overs)} s", flush=True)
    for complaint in result.verdict.complaints:
        print(f"    {complaint}", flush=True)


if __name__ == "__main__":
    typer.run(main)
