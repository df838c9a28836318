"""Draws a chart of a report as SVG. Pure: the same chart gives the same text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from api.http.plain_words import number
from api.shapes.reports import ReportBand, ReportChart, ReportLine

WIDTH, HEIGHT = 700, 190
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 22, 26
"""Margins, in the unit of WIDTH and HEIGHT."""
COLOURS = ("#1f4e79", "#b3541e", "#2e7d4f", "#7a3e8f", "#8a6d1a", "#3b6ea5", "#a23b3b", "#4d4d4d")
"""Of the devices, in their order; all are dark enough on white."""
TICKS = 6
PADDING = 0.05
"""Of the range of values, above and below."""


def svg(chart: ReportChart) -> Markup:
    """Return the chart as an SVG element."""
    low, high = _range(chart.lines)
    scale = _Scale(chart.hours, low, high)
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">').format(
            WIDTH, HEIGHT, chart.title
        ),
        *_bands(chart.bands, scale),
        *_axes(chart, scale),
        *(_line(line, scale, COLOURS[place % len(COLOURS)]) for place, line in _numbered(chart.lines)),
        *_marks(chart, scale),
        Markup("</svg>"),
    ]
    return Markup("\n").join(parts)


class _Scale:
    """Hours and values to places on the drawing."""

    def __init__(self, hours: float, low: float, high: float) -> None:
        self.hours, self.low, self.high = max(hours, 1e-9), low, high

    def x(self, hours: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(hours / self.hours, 0.0), 1.0)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)


def _numbered(lines: Sequence[ReportLine]) -> Iterator[tuple[int, ReportLine]]:
    """Yield the lines with the number of their device, so that a setpoint has the colour of its value."""
    devices: dict[str, int] = {}
    for line in lines:
        yield devices.setdefault(line.device, len(devices)), line


def _range(lines: Sequence[ReportLine]) -> tuple[float, float]:
    points = [point for line in lines for point in line.points if point is not None]
    if not points:
        return 0.0, 1.0
    low, high = min(point[2] for point in points), max(point[3] for point in points)
    room = (high - low) * PADDING or max(abs(high) * PADDING, 1e-6)
    return low - room, high + room


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Return round numbers from `low` to `high`, `most` or one more."""
    step = (high - low) / most
    if not (math.isfinite(step) and step > 0):
        return [low]
    size = 10.0 ** math.floor(math.log10(step))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _bands(bands: Sequence[ReportBand], scale: _Scale) -> Iterator[Markup]:
    for place, band in enumerate(bands):
        left, right = scale.x(band.begin), scale.x(band.end)
        yield Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="{}"/>').format(
            left, TOP, max(right - left, 0.0), HEIGHT - TOP - BOTTOM, "#f1f3f5" if place % 2 else "#e3e8ec"
        )
        if right - left > 7 * len(band.title):
            yield _text(left + 3, TOP + 10, band.title, size=8, colour="#5b6770")


def _axes(chart: ReportChart, scale: _Scale) -> Iterator[Markup]:
    unit = "" if chart.unit in {None, "1", "pH"} else f" ({chart.unit})"
    yield _text(LEFT, 13, f"{chart.title}{unit}", size=11, colour="#1b242b", weight="bold")
    for value in ticks(scale.low, scale.high, 4):
        place = scale.y(value)
        yield Markup('<path d="M{} {:.1f}H{}" stroke="#c9d1d8" stroke-width="0.5"/>').format(LEFT, place, WIDTH - RIGHT)
        yield _text(LEFT - 5, place + 3, number(value), anchor="end")
    for hour in ticks(0, chart.hours):
        place = scale.x(hour)
        yield Markup('<path d="M{:.1f} {}v3" stroke="#5b6770" stroke-width="0.8"/>').format(place, HEIGHT - BOTTOM)
        yield _text(place, HEIGHT - BOTTOM + 13, f"{number(hour)} h", anchor="middle")
    yield Markup('<path d="M{} {}H{}" stroke="#5b6770" stroke-width="0.8"/>').format(
        LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT
    )


def _line(line: ReportLine, scale: _Scale, colour: str) -> Markup:
    """Return the means as a path, which is interrupted at gaps, over the area between least and greatest."""
    path: list[str] = []
    area: list[str] = []
    for part in _parts(line):
        places = [(scale.x(hour), scale.y(mean)) for hour, mean, _, _ in part]
        follows = (f"H{x:.1f}V{y:.1f}" if line.step else f"L{x:.1f} {y:.1f}" for x, y in places[1:])
        path += [f"M{places[0][0]:.1f} {places[0][1]:.1f}", *(follows if len(places) > 1 else ["h0.01"])]
        if any(least < most for _, _, least, most in part):
            above = [f"{scale.x(hour):.1f} {scale.y(most):.1f}" for hour, _, _, most in part]
            below = [f"{scale.x(hour):.1f} {scale.y(least):.1f}" for hour, _, least, _ in reversed(part)]
            area.append(f"M{'L'.join(above + below)}z")
    drawn = Markup(
        '<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linecap="round"{}><title>{} {}</title></path>'
    )
    dashes = Markup(' stroke-dasharray="4 3"') if line.is_setpoint else ""
    width = "0.9" if line.is_setpoint else "1.1"
    over = drawn.format("".join(path), colour, width, dashes, line.device, line.title)
    under = Markup('<path d="{}" fill="{}" fill-opacity="0.25"/>').format("".join(area), colour) if area else Markup("")
    return under + over


def _parts(line: ReportLine) -> Iterator[list[list[float]]]:
    """Yield the points between two gaps."""
    part: list[list[float]] = []
    for point in (*line.points, None):
        if point is not None:
            part.append(point)
        elif part:
            yield part
            part = []


def _marks(chart: ReportChart, scale: _Scale) -> Iterator[Markup]:
    for mark in chart.marks:
        yield Markup('<path d="M{:.1f} {}l4 -6h-8z" fill="#1b242b"><title>{}</title></path>').format(
            scale.x(mark.at), HEIGHT - BOTTOM, mark.title
        )


def _text(
    x: float, y: float, text: str, *, size: int = 9, colour: str = "#3d4850", anchor: str = "start", weight: str = ""
) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" font-size="{}" fill="{}" text-anchor="{}"{}>{}</text>').format(
        x, y, size, colour, anchor, Markup(' font-weight="{}"').format(weight) if weight else "", escape(text)
    )
