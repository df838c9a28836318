"""Compiles formulas over the channels of a device: `temperature > 38 and not (agitation < 100 or ch("pH 2") < 6.5)`.

The language has numbers, channel names (as identifiers, or in `ch("…")`), `+ - * / % **`, comparisons (also chained),
`and or not`, parentheses, `abs min max`, `x if c else y`, `true false`, and `known(x)`. A channel that is missing or
not finite is unknown (None), and so is what is computed from it: arithmetic and comparisons with an unknown are
unknown, as are a division by zero, an overflow and a root of a negative number; `and or not` are Kleene's (`false and
unknown` is false). Evaluating a formula never raises.

Our own list cuts the text into tokens, Python's `ast` parses it, and each node is checked against what is allowed, with
its type (number or truth). The checked tree, not the text, is compiled to a function of plain assignments.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Literal

MAX_LENGTH = 1000
MAX_NODES = 300
MAX_DEPTH = 64
MAX_NAME = 64

Values = Mapping[str, float | None]
Kind = Literal["number", "truth"]

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
      | (?P<name>[^\W\d]\w*(?![\w"']))
      | (?P<string>"[^"\\\r\n\t]*"|'[^'\\\r\n\t]*')
      | (?P<sign>\*\*|[<>=!]=|[-+*/%<>(),])
    """,
    re.VERBOSE,
)
HINTS = {
    "=": 'equality is written "=="',
    "!": '"not" is written out',
    "&": '"and" is written out',
    "|": '"or" is written out',
    "^": 'powers are written "**"',
    ".": 'a channel with a dot in its name is written ch("a.b")',
    "#": "comments are not allowed",
    "[": "there are no lists",
    "{": "there are no sets",
    "\\": "a backslash is not allowed, neither here nor in the names of channels",
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
AND = {"decides": "False", "other": "True"}
OR = {"decides": "True", "other": "False"}
FUNCTIONS = ("abs", "min", "max", "known", "ch")
LARGEST = repr(sys.float_info.max)


class BadExpression(ValueError):
    """Raised for a wrong formula; says what is wrong, and where."""

    def __init__(self, column: int, problem: str) -> None:
        super().__init__(f"column {column}: {problem}")
        self.column = column
        """Column from 1, in characters; line breaks count."""
        self.problem = problem


@dataclass(frozen=True, slots=True)
class CompiledFormula:
    text: str
    channels: frozenset[str]
    truth: Callable[[Values], bool | None] = field(repr=False, compare=False)
    """Evaluates the formula on values by channel: True, False, or None for unknown."""


def compile(text: str) -> CompiledFormula:
    """Compile a condition. Raises BadExpression."""
    _check_tokens(text)
    # Line breaks in a formula mean nothing. Spaces in their place keep the columns.
    line = re.sub(r"[\t\r\n]", " ", text)
    indent = len(line) - len(line.lstrip())
    writer = _Writer(line.lstrip(), indent)
    kind, result = writer.write(_parse(line.lstrip(), indent))
    if kind != "truth":
        raise BadExpression(1, "this is a number; a condition is required, as in x > 0")
    return CompiledFormula(text, frozenset(writer.channels), writer.function(result))


def _check_tokens(text: str) -> None:
    if not text.strip():
        raise BadExpression(1, "the formula is empty")
    if len(text) > MAX_LENGTH:
        raise BadExpression(MAX_LENGTH + 1, f"the formula is longer than {MAX_LENGTH} characters")
    position = depth = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            raise BadExpression(position + 1, _no_token(text[position:]))
        if token.lastgroup == "name" and unicodedata.normalize("NFKC", token[0]) != token[0]:
            # Python would read another name than people see.
            raise BadExpression(position + 1, f'{token[0]!r} is not in its normal form: write it as ch("…")')
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise BadExpression(position + 1, f"more than {MAX_DEPTH} parentheses in each other")
        position = token.end()


def _no_token(rest: str) -> str:
    if re.match(r"[0-9.]*[0-9]", rest):
        return "not a number: numbers are decimal, as 7, 7.2 or 1e-3"
    if re.match(r"""\w*["']""", rest):
        return 'text is only allowed in ch("…"), in one line, between a pair of quotes'
    hint = HINTS.get(rest[0])
    sign = rest[0] if rest[0].isprintable() and not unicodedata.combining(rest[0]) else f"U+{ord(rest[0]):04X}"
    return f"{sign} is not allowed here" if hint is None else f"{sign}: {hint}"


def _parse(line: str, indent: int) -> ast.expr:
    try:
        return ast.parse(line, mode="eval").body
    except SyntaxError as error:
        # At the end of the text Python's parser reports column 0.
        column = indent + min(error.offset or len(line) + 1, len(line) + 1)
        raise BadExpression(
            column, f"the formula cannot be read: {error.msg if error.offset else 'it ends too early'}"
        ) from None
    except (RecursionError, MemoryError, ValueError):
        raise BadExpression(1, "the formula is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class _Part:
    code: str
    """A variable or a number, which may be repeated without cost or effect."""
    certain: bool = False
    """Whether it is never unknown."""


class _Writer:
    """Writes one assignment a node. Each variable is a number within the range of floats, a truth, or None."""

    def __init__(self, line: str, indent: int) -> None:
        self.line = line.encode()
        """The text as bytes, because `ast` counts columns in bytes."""
        self.indent = indent
        self.channels: dict[str, _Part] = {}
        self.lines: list[str] = []
        self.nodes = 0

    def function(self, result: _Part) -> Callable[[Values], bool | None]:
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {result.code}"])
        module = builtins.compile(f"def truth(values):\n    get = values.get\n{body}\n", "<formula>", "exec")
        [code] = [constant for constant in module.co_consts if isinstance(constant, CodeType)]
        names = {"__builtins__": {}, "minimum": min, "maximum": max, "power": _power}
        return FunctionType(code, names, "truth")

    def write(self, node: ast.expr, depth: int = 1) -> tuple[Kind, _Part]:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.wrong(node, f"the formula has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise self.wrong(node, f"the formula is nested more than {MAX_DEPTH} deep")
        match node:
            case ast.Constant():
                return "number", self.constant(node)
            case ast.Name():
                return self.name(node)
        return self.operation(node, depth)

    def operation(self, node: ast.expr, depth: int) -> tuple[Kind, _Part]:
        match node:
            case ast.UnaryOp():
                return self.unary(node, depth)
            case ast.BinOp():
                return "number", self.arithmetic(node, depth)
            case ast.BoolOp():
                parts = [self.truth(value, depth) for value in node.values]
                return "truth", self.kleene(parts, **(AND if isinstance(node.op, ast.And) else OR))
            case ast.Compare():
                return "truth", self.comparison(node, depth)
            case ast.IfExp():
                return self.choice(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.Tuple():
                raise self.wrong(node, "a comma is not allowed here; decimals have a point")
        raise self.wrong(node, "this is not part of the language of formulas")

    def number(self, node: ast.expr, depth: int) -> _Part:
        kind, part = self.write(node, depth + 1)
        if kind != "number":
            raise self.wrong(node, "a number is required, and this is true or false")
        return part

    def truth(self, node: ast.expr, depth: int) -> _Part:
        kind, part = self.write(node, depth + 1)
        if kind != "truth":
            raise self.wrong(node, "a condition is required, as in x > 0, and this is a number")
        return part

    def constant(self, node: ast.Constant) -> _Part:
        value = node.value
        if isinstance(value, bool):
            raise self.wrong(node, "true and false are written small")
        if not isinstance(value, int | float):
            raise self.wrong(node, 'text is only allowed in ch("…")')
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise self.wrong(node, "this number is too large")
        return _Part(repr(float(value)), certain=True)

    def name(self, node: ast.Name) -> tuple[Kind, _Part]:
        if node.id in {"true", "false"}:
            return "truth", _Part(node.id.capitalize(), certain=True)
        if node.id in FUNCTIONS:
            raise self.wrong(node, f'this is a function; a channel of that name is written ch("{node.id}")')
        return "number", self.channel(node, node.id)

    def unary(self, node: ast.UnaryOp, depth: int) -> tuple[Kind, _Part]:
        if isinstance(node.op, ast.Not):
            part = self.truth(node.operand, depth)
            return "truth", self.assign([part], f"not {part.code}")
        part = self.number(node.operand, depth)
        return "number", part if isinstance(node.op, ast.UAdd) else self.assign([part], f"-{part.code}")

    def channel(self, node: ast.expr, name: str) -> _Part:
        if not 1 <= len(name) <= MAX_NAME or any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
            raise self.wrong(node, f"names of channels have 1 to {MAX_NAME} characters and no control characters")
        if name not in self.channels:
            variable = self.variable()
            self.channels[name] = variable
            self.lines.append(
                f"{variable.code} = x if (x := get({name!r})) is not None and -{LARGEST} <= x <= {LARGEST} else None"
            )
        return self.channels[name]

    def arithmetic(self, node: ast.BinOp, depth: int) -> _Part:
        sign = ARITHMETIC.get(type(node.op))
        if sign is None:
            raise self.wrong(node, "the operators are + - * / % **")
        left, right = self.number(node.left, depth), self.number(node.right, depth)
        operands = [left, right]
        guards = [f"{right.code} != 0"] if sign in {"/", "%"} else []
        if sign == "**":
            return self.assign(operands, f"power({left.code}, {right.code})", may_fail=True)
        # A value beyond the range of floats is unknown at once: 1 / (1e308 * 10) is not 0.
        guards.append(f"-{LARGEST} <= (x := {left.code} {sign} {right.code}) <= {LARGEST}")
        return self.assign(operands, "x", guards)

    def comparison(self, node: ast.Compare, depth: int) -> _Part:
        operands = [self.number(operand, depth) for operand in (node.left, *node.comparators)]
        parts = []
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            sign = COMPARISONS.get(type(op))
            if sign is None:
                raise self.wrong(node, "the comparisons are < <= > >= == !=")
            parts.append(self.assign([left, right], f"{left.code} {sign} {right.code}"))
        return parts[0] if len(parts) == 1 else self.kleene(parts, **AND)

    def choice(self, node: ast.IfExp, depth: int) -> tuple[Kind, _Part]:
        test = self.truth(node.test, depth)
        kind, then = self.write(node.body, depth + 1)
        other_kind, other = self.write(node.orelse, depth + 1)
        if kind != other_kind:
            raise self.wrong(node, "both sides of else are numbers, or both are conditions")
        sure = then.certain and other.certain
        return kind, self.assign([test], f"{then.code} if {test.code} else {other.code}", may_fail=not sure)

    def call(self, node: ast.Call, depth: int) -> tuple[Kind, _Part]:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS or node.keywords:
            raise self.wrong(node, f"the functions are {', '.join(FUNCTIONS)}")
        if name in {"min", "max"}:
            if len(node.args) < 2:
                raise self.wrong(node, f"{name} takes two values or more")
            parts = [self.number(argument, depth) for argument in node.args]
            return "number", self.assign(parts, f"{name}imum({', '.join(part.code for part in parts)})")
        if len(node.args) != 1:
            raise self.wrong(node, f"{name} takes one value")
        [argument] = node.args
        if name == "ch":
            self.nodes += 1
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                raise self.wrong(argument, 'ch takes the name of a channel in quotes, as ch("pH 2")')
            if self.source(argument)[1:-1] != argument.value:
                raise self.wrong(argument, "one text in a pair of quotes is required")
            return "number", self.channel(argument, argument.value)
        if name == "known":
            _, part = self.write(argument, depth + 1)
            return "truth", _Part("True", certain=True) if part.certain else self.assign([], f"{part.code} is not None")
        part = self.number(argument, depth)
        return "number", self.assign([part], f"{part.code} if {part.code} >= 0 else -{part.code}")

    def kleene(self, parts: list[_Part], *, decides: str, other: str) -> _Part:
        """Join conditions: one that is `decides` decides, else an unknown one makes the whole unknown."""
        decided = " or ".join(f"{part.code} is {decides}" for part in parts)
        unknown = " or ".join(f"{part.code} is None" for part in parts if not part.certain)
        rest = f"None if {unknown} else {other}" if unknown else other
        return self.assign([], f"{decides} if {decided} else {rest}", may_fail=bool(unknown))

    def assign(
        self, operands: list[_Part], value: str, guards: list[str] | None = None, *, may_fail: bool = False
    ) -> _Part:
        """Add a variable: `value`, or None where an operand is unknown or a guard does not hold."""
        guards = [f"{part.code} is not None" for part in operands if not part.certain] + (guards or [])
        variable = self.variable(certain=not guards and not may_fail)
        guarded = f"({value}) if {' and '.join(guards)} else None" if guards else value
        self.lines.append(f"{variable.code} = {guarded}")
        return variable

    def variable(self, certain: bool = False) -> _Part:
        return _Part(f"v{len(self.lines)}", certain)

    def source(self, node: ast.expr) -> str:
        return self.line[node.col_offset : node.end_col_offset].decode()

    def wrong(self, node: ast.expr, problem: str) -> BadExpression:
        column = self.indent + len(self.line[: node.col_offset].decode()) + 1
        text = self.source(node)
        return BadExpression(column, f"{text if len(text) <= 40 else text[:39] + '…'}: {problem}")


def _power(base: float, exponent: float) -> float | None:
    try:
        # Compute with floats: whole numbers would grow without bound.
        value = float(base) ** float(exponent)
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, float) else None
