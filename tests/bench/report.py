"""The findings for people: a table, a page's part, and a plot. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape

from tests.bench.figures import Figure, Findings

COLUMNS = ("", "figure", "target", "least", "median", "most", "", "")
BEGIN, END = "<!-- made by `make bench` -->", "<!-- end -->"
COLOURS = {
    "gateway": "#1b6ca8",
    "mosquitto_sub": "#8a8a8a",
    "naive pipeline": "#c0504d",
    "no subscriber": "#c9b458",
}


def rows(findings: Findings) -> list[tuple[str, ...]]:
    """One of each figure; what could not be measured at the end."""
    found: list[tuple[str, ...]] = [
        (
            figure.name,
            figure.what,
            f"{'≥' if figure.at_least else '≤'} {figure.target:g} {figure.unit}",
            number(min(figure.values)),
            f"{number(figure.value)} {figure.unit}",
            number(max(figure.values)),
            figure.verdict,
            figure.note,
        )
        for figure in sorted(findings.figures, key=order)
    ]
    return found + [(name, "not measured", "", "", "", "", "failed", why) for name, why in findings.failures.items()]


def order(figure: Figure) -> tuple[int, str]:
    """B2 before B10."""
    digits = figure.name[1:].rstrip("abcd")
    return int(digits), figure.name


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(findings: Findings) -> str:
    """For a terminal."""
    lines = [COLUMNS, *rows(findings)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def part(findings: Findings) -> str:
    """For docs/performance.md: the figures, the rates, and where the time of a frame goes."""
    figures = [COLUMNS, ("---", "---", "---:", "---:", "---:", "---:", "---", "---"), *rows(findings)]
    receivers = sorted({who for runs in findings.rates.values() for who in runs}, key=list(COLOURS).index)
    rates = [
        ("frames/s, median (least to most)", *receivers),
        ("---", *["---:"] * len(receivers)),
        *((case, *(spread(runs.get(who, [])) for who in receivers)) for case, runs in findings.rates.items()),
    ]
    costs = [("µs of CPU a frame, in B1", ""), ("---", "---:")]
    costs += [(name, f"{cost:.2f}") for name, cost in findings.costs_us.items()]
    head = f"`make bench` ({findings.size}) on {findings.machine}."
    return "\n\n".join([head, markdown(figures), markdown(rates), markdown(costs)])


def spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def with_part(page: str, findings: Findings) -> str:
    """The page with its made part made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{part(findings)}\n\n{END}{after}"


# -- plot

WIDTH, LEFT, ROW, TOP = 860, 230, 30, 56


def plot(rates: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Frames/s as an SVG: a line a case, a dot a run, a bar at the median of each receiver."""
    most = max((max(values) for runs in rates.values() for values in runs.values() if values), default=1.0)
    step = next(step for step in (1e2, 1e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e9) if most / step <= 9)
    scale = (WIDTH - LEFT - 30) / (most * 1.02)
    height = TOP + ROW * len(rates) + 40
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13"><rect width="100%" height="100%" fill="#ffffff"/>'
    ]
    for mark in range(int(most / step) + 1):
        x = LEFT + mark * step * scale
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{height - 34}" stroke="#e0e0e0"/>')
        shapes.append(f'<text x="{x:.1f}" y="{height - 16}" text-anchor="middle">{mark * step:,.0f}</text>')
    shapes.append(f'<text x="{WIDTH - 30}" y="{height - 2}" text-anchor="end" font-size="11">frames/s</text>')
    shown = [who for who in COLOURS if any(who in runs for runs in rates.values())]
    for n, who in enumerate(shown):
        x = LEFT + n * 150
        shapes.append(f'<circle cx="{x}" cy="22" r="5" fill="{COLOURS[who]}"/><text x="{x + 10}" y="26">{who}</text>')
    for n, (case, runs) in enumerate(rates.items()):
        y = TOP + ROW * n + ROW / 2
        shapes.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(case)}</text>')
        for who, values in runs.items():
            shapes += dots(values, y, scale, COLOURS[who])
    return "\n".join([*shapes, "</svg>", ""])


def dots(values: Sequence[float], y: float, scale: float, colour: str) -> list[str]:
    if not values:
        return []
    middle = LEFT + statistics.median(values) * scale
    bar = f'<rect x="{middle - 1.5:.1f}" y="{y - 11}" width="3" height="22" fill="{colour}"/>'
    return [bar] + [
        f'<circle cx="{LEFT + value * scale:.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.5"/>'
        for value in values
    ]
