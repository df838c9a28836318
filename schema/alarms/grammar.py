"""Reads formulas over the channels of a device: `temperature > 38 and not (agitation < 100 or ch("pH 2") < 6.5)`.

The language has numbers, channel names (as identifiers, or in `ch("…")`), `+ - * / % **`, comparisons (also chained),
`and or not`, parentheses, `abs min max ln exp`, `x if c else y`, `true false`, and `known(x)`. A channel that is
missing or not finite is unknown, and so is what is computed from it: arithmetic and comparisons with an unknown are
unknown, as are a division by zero, an overflow, a root or a logarithm of what has none. `and or not` are Kleene's
(`false and unknown` is false). Evaluating a formula never raises.

Our own list cuts the text into tokens, Python's `ast` parses it, and each node is checked against what is allowed, with
its type (number or truth). A `Writer` compiles the checked tree, not the text, to a function of plain assignments:
expression.py to one of single values, for alarms; api/series/formula.py to one of arrays, with `rate` and `total`.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, ClassVar, Literal

MAX_LENGTH = 1000
MAX_NODES = 300
MAX_DEPTH = 64
MAX_NAME = 64

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
FUNCTIONS = ("abs", "min", "max", "known", "ch")
"""These names are functions everywhere: a channel of such a name is written `ch("abs")`."""
LATER = ("ln", "exp", "rate", "total")
"""These are functions where they are called, and channels elsewhere, as rules may have had them."""
OVER_TIME = ("rate", "total")


class BadExpression(ValueError):
    """Raised for a wrong formula; says what is wrong, and where."""

    def __init__(self, column: int, problem: str) -> None:
        super().__init__(f"column {column}: {problem}")
        self.column = column
        """Column from 1, in characters; line breaks count."""
        self.problem = problem


def check_tokens(text: str) -> None:
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


def parse(line: str, indent: int) -> ast.expr:
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
class Part:
    code: str
    """A variable or a number, which may be repeated without cost or effect."""
    certain: bool = False
    """Whether it is never unknown."""


class Writer(ABC):
    """Checks each node, and writes one assignment for it. What the assignments are, a subclass says in `put`."""

    HEAD: ClassVar[str]
    """The first line of the function."""
    FUNCTIONS: ClassVar[Mapping[str, Any]]
    """What its lines may call."""

    def __init__(self, text: str) -> None:
        check_tokens(text)
        # Line breaks in a formula mean nothing. Spaces in their place keep the columns.
        line = re.sub(r"[\t\r\n]", " ", text)
        self.indent = len(line) - len(line.lstrip())
        self.line = line.lstrip().encode()
        """The text as bytes, because `ast` counts columns in bytes."""
        self.channels: dict[str, Part] = {}
        self.lines: list[str] = []
        self.nodes = 0

    def function(self, wanted: Kind) -> Callable[..., Any]:
        """Compile the formula, whose result must be of that kind. Raises BadExpression."""
        kind, result = self.write(parse(self.line.decode(), self.indent))
        if kind != wanted:
            said = "a number; a condition" if wanted == "truth" else "true or false; a number"
            raise BadExpression(1, f"this is {said} is required, as in {'x > 0' if wanted == 'truth' else 'x / 2'}")
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {result.code}"])
        module = builtins.compile(f"{self.HEAD}\n{body}\n", "<formula>", "exec")
        [code] = [constant for constant in module.co_consts if isinstance(constant, CodeType)]
        return FunctionType(code, {"__builtins__": {}, **self.FUNCTIONS}, code.co_name)

    @abstractmethod
    def put(self, operation: str, parts: Sequence[Part]) -> Part:
        """Add the variable that this operation on the parts gives: a sign, a name of a function, `if` or `neg`."""

    @abstractmethod
    def put_channel(self, name: str) -> Part:
        """Add the variable that has the value of a channel."""

    def over_time(self, node: ast.Call, name: str, depth: int) -> Part:
        """Add what a function of OVER_TIME gives."""
        raise self.wrong(
            node,
            f"{name} looks at samples over time, which only formulas of computed channels do; for an alarm take a rule "
            "of kind rate",
        )

    def write(self, node: ast.expr, depth: int = 1) -> tuple[Kind, Part]:
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

    def operation(self, node: ast.expr, depth: int) -> tuple[Kind, Part]:
        match node:
            case ast.UnaryOp():
                return self.unary(node, depth)
            case ast.BinOp():
                return "number", self.arithmetic(node, depth)
            case ast.BoolOp():
                parts = [self.truth(value, depth) for value in node.values]
                return "truth", self.put("and" if isinstance(node.op, ast.And) else "or", parts)
            case ast.Compare():
                return "truth", self.comparison(node, depth)
            case ast.IfExp():
                return self.choice(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.Tuple():
                raise self.wrong(node, "a comma is not allowed here; decimals have a point")
        raise self.wrong(node, "this is not part of the language of formulas")

    def number(self, node: ast.expr, depth: int) -> Part:
        kind, part = self.write(node, depth + 1)
        if kind != "number":
            raise self.wrong(node, "a number is required, and this is true or false")
        return part

    def truth(self, node: ast.expr, depth: int) -> Part:
        kind, part = self.write(node, depth + 1)
        if kind != "truth":
            raise self.wrong(node, "a condition is required, as in x > 0, and this is a number")
        return part

    def constant(self, node: ast.Constant) -> Part:
        value = node.value
        if isinstance(value, bool):
            raise self.wrong(node, "true and false are written small")
        if not isinstance(value, int | float):
            raise self.wrong(node, 'text is only allowed in ch("…")')
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise self.wrong(node, "this number is too large")
        return Part(repr(float(value)), certain=True)

    def name(self, node: ast.Name) -> tuple[Kind, Part]:
        if node.id in {"true", "false"}:
            return "truth", Part(node.id.capitalize(), certain=True)
        if node.id in FUNCTIONS:
            raise self.wrong(node, f'this is a function; a channel of that name is written ch("{node.id}")')
        return "number", self.channel(node, node.id)

    def unary(self, node: ast.UnaryOp, depth: int) -> tuple[Kind, Part]:
        if isinstance(node.op, ast.Not):
            return "truth", self.put("not", [self.truth(node.operand, depth)])
        part = self.number(node.operand, depth)
        return "number", part if isinstance(node.op, ast.UAdd) else self.put("neg", [part])

    def channel(self, node: ast.expr, name: str) -> Part:
        if not 1 <= len(name) <= MAX_NAME or any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
            raise self.wrong(node, f"names of channels have 1 to {MAX_NAME} characters and no control characters")
        if name not in self.channels:
            self.channels[name] = self.put_channel(name)
        return self.channels[name]

    def arithmetic(self, node: ast.BinOp, depth: int) -> Part:
        sign = ARITHMETIC.get(type(node.op))
        if sign is None:
            raise self.wrong(node, "the operators are + - * / % **")
        return self.put(sign, [self.number(node.left, depth), self.number(node.right, depth)])

    def comparison(self, node: ast.Compare, depth: int) -> Part:
        operands = [self.number(operand, depth) for operand in (node.left, *node.comparators)]
        parts = []
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            sign = COMPARISONS.get(type(op))
            if sign is None:
                raise self.wrong(node, "the comparisons are < <= > >= == !=")
            parts.append(self.put(sign, [left, right]))
        return parts[0] if len(parts) == 1 else self.put("and", parts)

    def choice(self, node: ast.IfExp, depth: int) -> tuple[Kind, Part]:
        test = self.truth(node.test, depth)
        kind, then = self.write(node.body, depth + 1)
        other_kind, other = self.write(node.orelse, depth + 1)
        if kind != other_kind:
            raise self.wrong(node, "both sides of else are numbers, or both are conditions")
        return kind, self.put("if", [test, then, other])

    def call(self, node: ast.Call, depth: int) -> tuple[Kind, Part]:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name is None or name not in (*FUNCTIONS, *LATER) or node.keywords:
            raise self.wrong(node, f"the functions are {', '.join((*FUNCTIONS, *LATER))}")
        if name in OVER_TIME:
            return "number", self.over_time(node, name, depth)
        if name in {"min", "max"}:
            if len(node.args) < 2:
                raise self.wrong(node, f"{name} takes two values or more")
            return "number", self.put(name, [self.number(argument, depth) for argument in node.args])
        if len(node.args) != 1:
            raise self.wrong(node, f"{name} takes one value")
        [argument] = node.args
        if name == "ch":
            self.nodes += 1
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                raise self.wrong(argument, 'ch takes the name of a channel in quotes, as ch("pH 2")')
            return "number", self.channel(argument, self.words(argument))
        if name == "known":
            _, part = self.write(argument, depth + 1)
            return "truth", Part("True", certain=True) if part.certain else self.put("known", [part])
        return "number", self.put(name, [self.number(argument, depth)])

    def words(self, node: ast.Constant) -> str:
        """The text between a pair of quotes, as it stands there."""
        if self.source(node)[1:-1] != node.value:
            raise self.wrong(node, "one text in a pair of quotes is required")
        return str(node.value)

    def assign(self, code: str, *, certain: bool = False) -> Part:
        """Add a variable of this value."""
        variable = Part(f"v{len(self.lines)}", certain)
        self.lines.append(f"{variable.code} = {code}")
        return variable

    def source(self, node: ast.expr) -> str:
        return self.line[node.col_offset : node.end_col_offset].decode()

    def wrong(self, node: ast.expr, problem: str) -> BadExpression:
        column = self.indent + len(self.line[: node.col_offset].decode()) + 1
        text = self.source(node)
        return BadExpression(column, f"{text if len(text) <= 40 else text[:39] + '…'}: {problem}")
