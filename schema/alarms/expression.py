"""Compiles conditions of alarms, which are formulas of grammar.py, to functions of the newest value of each channel."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from schema.alarms.grammar import ARITHMETIC, Part, Writer

Values = Mapping[str, float | None]
LARGEST = repr(sys.float_info.max)
KLEENE = {"and": ("False", "True"), "or": ("True", "False")}
"""What decides, and what is else."""
CALLS = {"min": "minimum", "max": "maximum", "**": "power", "ln": "logarithm", "exp": "exponential"}
PATTERNS = {"not": "not {0}", "neg": "-{0}", "abs": "{0} if {0} >= 0 else -{0}"}


@dataclass(frozen=True, slots=True)
class CompiledFormula:
    text: str
    channels: frozenset[str]
    truth: Callable[[Values], bool | None] = field(repr=False, compare=False)
    """Evaluates the formula on values by channel: True, False, or None for unknown."""


def compile(text: str) -> CompiledFormula:
    """Compile a condition. Raises BadExpression."""
    writer = _ValueWriter(text)
    truth = writer.function("truth")
    return CompiledFormula(text, frozenset(writer.channels), truth)


def _power(base: float, exponent: float) -> float | None:
    try:
        # Compute with floats: whole numbers would grow without bound.
        value = float(base) ** float(exponent)
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, float) else None


def _logarithm(value: float) -> float | None:
    return math.log(value) if value > 0 else None


def _exponential(value: float) -> float | None:
    try:
        return math.exp(value)
    except OverflowError:
        return None


class _ValueWriter(Writer):
    """Each variable is a number within the range of floats, a truth, or None."""

    HEAD = "def truth(values):\n    get = values.get"
    FUNCTIONS: ClassVar[Mapping[str, Callable[..., float | None]]] = {
        **{"minimum": min, "maximum": max, "power": _power, "logarithm": _logarithm, "exponential": _exponential}
    }

    def put(self, operation: str, parts: Sequence[Part]) -> Part:
        codes = [part.code for part in parts]
        if operation in KLEENE:
            return self._kleene(parts, *KLEENE[operation])
        if operation == "known":
            return self.assign(f"{codes[0]} is not None", certain=True)
        if operation == "if":
            sure = parts[1].certain and parts[2].certain
            return self._guarded(parts[:1], f"{codes[1]} if {codes[0]} else {codes[2]}", may_fail=not sure)
        if operation in ARITHMETIC.values() and operation != "**":
            guards = [f"{codes[1]} != 0"] if operation in {"/", "%"} else []
            # A value beyond the range of floats is unknown at once: 1 / (1e308 * 10) is not 0.
            guards.append(f"-{LARGEST} <= (x := {codes[0]} {operation} {codes[1]}) <= {LARGEST}")
            return self._guarded(parts, "x", guards)
        if operation in CALLS:
            call = f"{CALLS[operation]}({', '.join(codes)})"
            return self._guarded(parts, call, may_fail=operation not in {"min", "max"})
        return self._guarded(parts, PATTERNS.get(operation, f"{{0}} {operation} {{1}}").format(*codes))

    def put_channel(self, name: str) -> Part:
        return self.assign(f"x if (x := get({name!r})) is not None and -{LARGEST} <= x <= {LARGEST} else None")

    def _kleene(self, parts: Sequence[Part], decides: str, other: str) -> Part:
        """Join conditions: one that is `decides` decides, else an unknown one makes the whole unknown."""
        decided = " or ".join(f"{part.code} is {decides}" for part in parts)
        unknown = " or ".join(f"{part.code} is None" for part in parts if not part.certain)
        rest = f"None if {unknown} else {other}" if unknown else other
        return self.assign(f"{decides} if {decided} else {rest}", certain=not unknown)

    def _guarded(
        self, operands: Sequence[Part], value: str, guards: Sequence[str] = (), *, may_fail: bool = False
    ) -> Part:
        """Add a variable: `value`, or None where an operand is unknown or a guard does not hold."""
        guards = [*(f"{part.code} is not None" for part in operands if not part.certain), *guards]
        guarded = f"({value}) if {' and '.join(guards)} else None" if guards else value
        return self.assign(guarded, certain=not guards and not may_fail)
