"""Draws a run from the models, without a broker: `biogate sim plot --to run.svg`. The same options, the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from device_sim import options
from schema.errors import BiogateError
from schema.times import EPOCH, parse_instant

PANELS = (
    ("T, °C", ("temperature", "temperature_setpoint")),
    ("pH", ("ph", "ph_setpoint")),
    ("DO, %", ("dissolved_oxygen", "dissolved_oxygen_setpoint")),
    ("stirrer, rpm", ("agitation",)),
    ("feed, mL/h", ("feed_a_rate",)),
    ("OD, AU", ("optical_density",)),
)
HOUR = 3_600_000
POINTS = 2000
COLOURS = ("#f2f2f2", "#e3ecf7")
BEGIN = "2026-01-01Z"


@dataclass(frozen=True)
class Drawn:
    """A run: hours from its begin, a value a channel and hour, and the phases as (begin, end, name)."""

    hours: Any
    values: dict[str, Any]
    phases: list[tuple[float, float, str]]


def main(  # noqa: PLR0917 - typer's options
    to: Annotated[Path, typer.Option(help="file to write: .png or .svg")],
    device: Annotated[str, typer.Option(help="the vessel's name, from which its luck follows")] = "sim-0001",
    seed: options.Seed = 1,
    organism: options.Organism = None,
    hours: Annotated[float, typer.Option(min=0.1, max=2000, help="length of the run, h")] = 48.0,
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="when the run begins")] = BEGIN,
) -> None:
    """Draw what a vessel's instruments show: temperature, pH, oxygen, feed, optical density, and the phases."""
    if to.suffix not in {".png", ".svg"}:
        raise typer.BadParameter("the name ends with .png or .svg", param_hint="--to")
    try:
        start = round((parse_instant(begin) - EPOCH) / timedelta(milliseconds=1))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from") from error
    draw(run_of(device, seed, organism, start, round(hours * HOUR)), f"{device}, seed {seed}", to)


def run_of(device: str, seed: int, organism: str | None, start: int, length: int) -> Drawn:
    """The run of a vessel from `start` (ms) on, without a clock."""
    from device_sim.plant import Plant  # noqa: PLC0415 - with SciPy: half a second that the other words do without

    try:
        plant = Plant([device], seed, start, organisms=[organism])
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--organism") from error
    every = max(1000, length // POINTS)
    values = plant.history(0, start, start + length, every)
    phases: list[tuple[float, float, str]] = []
    marks = [(0.0, plant.phases()[0])]
    plant.advance(start + length)
    for event in plant.events():
        if event.type == "phase":
            marks.append(((event.t - start) / HOUR, str(event.data["phase"])))
    ends = [*(at for at, _ in marks[1:]), length / HOUR]
    phases = [(at, end, name) for (at, name), end in zip(marks, ends, strict=True) if end > at]
    shown = {name: values[:, column] for column, name in enumerate(plant.channels)}
    return Drawn(np.arange(len(values)) * every / HOUR, shown, phases)


def draw(run: Drawn, title: str, to: Path) -> None:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise BiogateError("matplotlib is missing: install Biogate with its extra `sim`") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    panels = [(label, [name for name in names if name in run.values]) for label, names in PANELS]
    panels = [(label, names) for label, names in panels if names]
    with mpl.rc_context({"svg.hashsalt": "biogate", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(len(panels), sharex=True, figsize=(9, 1.4 * len(panels) + 0.6), squeeze=False)
        for axis, (label, names) in zip(axes[:, 0], panels, strict=True):
            for number, (begin, end, _) in enumerate(run.phases):
                axis.axvspan(begin, end, color=COLOURS[number % 2], lw=0)
            for name, style in zip(names, ("-", "--"), strict=False):
                axis.plot(run.hours, run.values[name], style, lw=0.9, color="#1f4e8c" if style == "-" else "#c0504d")
            axis.set_ylabel(label)
            axis.margins(x=0)
        for begin, end, name in run.phases:
            if end - begin > run.hours[-1] / 25:
                axes[0, 0].text((begin + end) / 2, 1.03, name, transform=axes[0, 0].get_xaxis_transform(), ha="center")
        axes[-1, 0].set_xlabel("hours")
        figure.suptitle(title, fontsize=9)
        figure.tight_layout()
        figure.savefig(to, dpi=120, metadata={"Software": None} if to.suffix == ".png" else {"Date": None})
        plt.close(figure)
