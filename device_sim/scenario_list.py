"""Lists the scenarios that Biogate brings: `biogate sim scenarios`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from device_sim.scenario import Fault, Scenario, find, library
from schema.command_line import plain


def main(
    name: Annotated[str | None, typer.Argument(help="a scenario or a file: check it, and show it alone")] = None,
) -> None:
    """List the faults that can be simulated, and what to expect of each."""
    for scenario in [find(name)] if name else library():
        typer.echo("\n".join(map(plain, lines(scenario))))


def lines(scenario: Scenario) -> Iterator[str]:
    """What a scenario does and what to expect, one line a fault."""
    yield f"{scenario.name}: {scenario.title}"
    if scenario.about:
        yield f"  ({scenario.about})"
    for fault in scenario.faults:
        yield f"  {when(fault)}: {fault.kind}{of_what(fault)}: {fault.expect.see}"
        if wanted := ", ".join(expected(fault)):
            yield f"    expect {wanted}"


def when(fault: Fault) -> str:
    return f"at {fault.at}" + (f" for {fault.duration}" if fault.duration else "")


def of_what(fault: Fault) -> str:
    parts = [*([fault.channel] if fault.channel else []), *(f"{m:g}" for m in [fault.magnitude] if m is not None)]
    return f" ({', '.join(parts)})" if parts else ""


def expected(fault: Fault) -> Iterator[str]:
    """What the gateway's records show."""
    yield from (f"alarm {rule}" for rule in fault.expect.alarm)
    yield from (f"quarantine {reason}" for reason in fault.expect.quarantine)
    yield from (str(trace) for trace in fault.expect.trace)
