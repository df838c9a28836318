"""Formulas of computed channels on arrays: the grammar of schema/alarms/grammar.py, with `rate` and `total` beside it.

A number is an array of floats, NaN where it is unknown; a truth is one of 1, 0 and NaN.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np

from api.series.samples import Floats
from schema import times
from schema.alarms.grammar import Part, Writer

Number: TypeAlias = "Floats | float"
MOST_WINDOW = timedelta(days=1)
"""The longest window of a rate: how far before a time its samples are read."""


@dataclass(frozen=True, slots=True)
class OverTime:
    """A place in a formula where `rate` or `total` stands."""

    name: str
    reads: frozenset[str]
    """The channels and constants of what it is of."""
    window: timedelta | None = None
    """of a rate"""
    start: str | datetime | None = None
    """of a total: a constant that is an instant, or the instant itself"""


@dataclass(frozen=True, slots=True)
class SeriesFormula:
    """A formula, with what it reads: names that are channels, or constants."""

    text: str
    names: frozenset[str]
    over_time: tuple[OverTime, ...]
    values: Callable[[Callable[[str], Number], Callable[[int, Number], Number]], Number] = field(
        repr=False, compare=False
    )
    """Takes what gives the values of a name, and what gives those of a place of `over_time` for its argument."""

    @property
    def starts(self) -> frozenset[str]:
        """The constants that are instants."""
        return frozenset(it.start for it in self.over_time if isinstance(it.start, str))


def _finite(values: Number) -> Number:
    """The numbers; what is beyond the range of floats is unknown at once."""
    return np.where(np.isfinite(values), values, np.nan)


def _where_known(parts: Sequence[Number], values: Any) -> Number:
    unknown = np.isnan(parts[0])
    for part in parts[1:]:
        unknown = unknown | np.isnan(part)
    return np.where(unknown, np.nan, values)


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Number]:
    def applied(*parts: Number) -> Number:
        with np.errstate(all="ignore"):
            return _where_known(parts, _finite(function(*parts)))

    return applied


def _comparison(function: Callable[..., Any]) -> Callable[..., Number]:
    return lambda left, right: _where_known((left, right), function(left, right).astype(np.float64))


def _kleene(decides: float) -> Callable[..., Number]:
    """Join conditions: one that is `decides` decides, else an unknown one makes the whole unknown."""

    def applied(*parts: Number) -> Number:
        decided = parts[0] == decides
        for part in parts[1:]:
            decided = decided | (part == decides)
        return np.where(decided, decides, _where_known(parts, 1.0 - decides))

    return applied


def _least(*parts: Number) -> Number:
    found = parts[0]
    for part in parts[1:]:
        found = np.minimum(found, part)
    return found


def _most(*parts: Number) -> Number:
    found = parts[0]
    for part in parts[1:]:
        found = np.maximum(found, part)
    return found


OPERATIONS: Mapping[str, Callable[..., Number]] = {
    "+": _arithmetic(np.add),
    "-": _arithmetic(np.subtract),
    "*": _arithmetic(np.multiply),
    "/": _arithmetic(np.divide),
    "%": _arithmetic(np.mod),
    "**": _arithmetic(np.float_power),
    "ln": _arithmetic(np.log),
    "exp": _arithmetic(np.exp),
    "<": _comparison(np.less),
    "<=": _comparison(np.less_equal),
    ">": _comparison(np.greater),
    ">=": _comparison(np.greater_equal),
    "==": _comparison(np.equal),
    "!=": _comparison(np.not_equal),
    "and": _kleene(0.0),
    "or": _kleene(1.0),
    "not": lambda part: 1.0 - part,
    "neg": lambda part: -part,
    "abs": np.abs,
    "min": _least,
    "max": _most,
    "known": lambda part: (~np.isnan(part)).astype(np.float64),
    "if": lambda test, then, other: np.where(np.isnan(test), np.nan, np.where(test == 1.0, then, other)),
}
NAMES = {operation: f"f{number}" for number, operation in enumerate(OPERATIONS)}


@lru_cache(1000)
def compile(text: str) -> SeriesFormula:
    """Compile a formula whose result is a number. Raises BadExpression."""
    writer = _ArrayWriter(text)
    values = writer.function("number")
    return SeriesFormula(text, frozenset(writer.channels), tuple(writer.places), values)


class _ArrayWriter(Writer):
    """Each variable is an array of floats, or one float for all."""

    HEAD = "def values(get, over_time):"
    FUNCTIONS: ClassVar[Mapping[str, Callable[..., Number]]] = {
        f"f{n}": one for n, one in enumerate(OPERATIONS.values())
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.places: list[OverTime] = []
        self._reads: set[str] | None = None
        """Within `rate` and `total`: what is read there."""

    def put(self, operation: str, parts: Sequence[Part]) -> Part:
        return self.assign(f"{NAMES[operation]}({', '.join(_code(part) for part in parts)})")

    def put_channel(self, name: str) -> Part:
        return self.assign(f"get({name!r})")

    def channel(self, node: ast.expr, name: str) -> Part:
        if self._reads is not None:
            self._reads.add(name)
        return super().channel(node, name)

    def over_time(self, node: ast.Call, name: str, depth: int) -> Part:
        second = 'a window, as in rate(x, "1h")' if name == "rate" else "a start, as in total(x, start)"
        if len(node.args) != 2:
            raise self.wrong(node, f"{name} takes a value and {second}")
        if self._reads is not None:
            raise self.wrong(node, "rate and total cannot stand within each other")
        window = self._window(node.args[1]) if name == "rate" else None
        start = self._start(node.args[1]) if name == "total" else None
        self._reads = set()
        part = self.number(node.args[0], depth)
        reads, self._reads = frozenset(self._reads), None
        self.places.append(OverTime(name, reads, window, start))
        return self.assign(f"over_time({len(self.places) - 1}, {_code(part)})")

    def _window(self, node: ast.expr) -> timedelta:
        self.nodes += 1
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self.wrong(node, 'a window is a duration in quotes, like "30m" or "1h"')
        try:
            window = times.parse_duration(self.words(node))
        except ValueError as error:
            raise self.wrong(node, str(error)) from error
        if window > MOST_WINDOW:
            raise self.wrong(node, f"a window is at most {times.duration_text(MOST_WINDOW)}")
        return window

    def _start(self, node: ast.expr) -> str | datetime:
        self.nodes += 1
        if isinstance(node, ast.Name):
            return node.id
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self.wrong(node, 'a start is the name of a constant, or an instant in quotes, "2026-11-20T07:45:00Z"')
        try:
            return instant(self.words(node))
        except ValueError as error:
            raise self.wrong(node, str(error)) from error


def instant(said: str) -> datetime:
    """Return an instant that is the same whenever it is read. Raises ValueError."""
    if said.strip() == "now" or times.BEFORE_NOW.fullmatch(said.strip()):
        raise ValueError(f"{said} is another instant each time: give one like 2026-11-20T07:45:00Z")
    return times.parse_instant(said)


def _code(part: Part) -> str:
    return {"True": "1.0", "False": "0.0"}.get(part.code, part.code)
