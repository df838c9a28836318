"""What a bench finds: figures with targets, as JSON, and compared with a recorded baseline."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WORSE = 0.15
"""Share by which a figure may be worse than the baseline before it is told."""


@dataclass(frozen=True)
class Figure:
    """One line of the table. `values`: of each repetition; `value`: what is held against the target."""

    name: str
    what: str
    unit: str
    values: tuple[float, ...]
    value: float
    target: float
    at_least: bool = True
    """Else at most."""
    floor: float | None = None
    """Missing the target is bearable up to here."""
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def verdict(self) -> str:
        if self.met:
            return "met"
        bearable = self.floor is not None and (self.value >= self.floor if self.at_least else self.value <= self.floor)
        return "above the floor" if bearable else "missed"

    def loss(self, before: float) -> float:
        """By which share it is worse than it was; negative if it is better."""
        if self.value <= 0 or before <= 0:
            return 0.0
        return 1 - self.value / before if self.at_least else self.value / before - 1


def figure(name: str, what: str, unit: str, values: Sequence[float], target: float, **more: Any) -> Figure:
    """Judged by its median."""
    return Figure(name, what, unit, tuple(values), statistics.median(values), target, **more)


def quotient(
    name: str, what: str, ours: Sequence[float], theirs: Sequence[float], target: float, **more: Any
) -> Figure:
    """A ratio of what was measured side by side, judged by the ratio of the medians."""
    ratios = tuple(one / other for one, other in zip(ours, theirs, strict=True))
    return Figure(name, what, "×", ratios, statistics.median(ours) / statistics.median(theirs), target, **more)


@dataclass
class Findings:
    """All of a bench: figures, the rates behind them by case and receiver, and where the time of a frame goes."""

    size: str
    machine: str
    figures: list[Figure] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Names of figures that could not be measured, and why."""
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Frames/s: case → receiver → runs."""
    costs_us: dict[str, float] = field(default_factory=dict)
    """CPU of a frame in B1: process or stage → µs."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Findings:
        content = json.loads(path.read_text())
        figures = [Figure(**{**one, "values": tuple(one["values"])}) for one in content.pop("figures")]
        return cls(figures=figures, **content)


def compare(now: Findings, baseline: Findings) -> list[str]:
    """A sentence for each figure that is worse than the baseline by more than WORSE."""
    before: Mapping[str, Figure] = {figure.name: figure for figure in baseline.figures}
    return [
        f"{figure.name} {figure.what}: {figure.value:.3g} {figure.unit}, {loss:.0%} worse than "
        f"{before[figure.name].value:.3g} in the baseline"
        for figure in now.figures
        if figure.name in before and (loss := figure.loss(before[figure.name].value)) > WORSE
    ]


def _rounded(value: Any) -> Any:
    """To four significant digits: more is noise, and makes the file's history unreadable."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value
