"""Formulas beside a second evaluator, and any text at all."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schema.alarms.expression import compile
from schema.alarms.grammar import BadExpression

T, F, U = True, False, None
INF = float("inf")


# A second evaluator: on a tree of its own, by definition and not by compilation. The text is written from the tree.


Scalar = float | bool | None
Meaning = Callable[[Mapping[str, float | None]], Scalar]


@dataclass(frozen=True)
class Node:
    text: str
    meaning: Meaning

    def __repr__(self) -> str:
        return self.text


def strict(function: Callable[..., Scalar], *operands: Node) -> Meaning:
    """Unknown if an operand is, or if there is no result within the range of floats."""

    def meaning(values: Mapping[str, float | None]) -> Scalar:
        parts = [operand.meaning(values) for operand in operands]
        if any(part is None for part in parts):
            return None
        try:
            result = function(*parts)
        except (ArithmeticError, ValueError):
            return None
        if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
            return None
        return result

    return meaning


def least(*operands: Node) -> Meaning:
    """Kleene's `and`, as the least of false < unknown < true."""
    order: dict[Scalar, float] = {False: 0, None: 0.5, True: 1}
    back: dict[float, Scalar] = {0: False, 0.5: None, 1: True}
    return lambda values: back[min(order[operand.meaning(values)] for operand in operands)]


def opposite(node: Node) -> Node:
    return Node(f"not ({node.text})", strict(operator.not_, node))


CHANNELS = {"a": "a", "b": "b", "pH 2": 'ch("pH 2")', "gone": "gone"}
numbers_ = st.sampled_from([0.0, 1.0, 2.0, 3.0, 0.5, 10.0, 1e300, 1e-300, 7.25])
leaves = st.one_of(
    st.sampled_from(list(CHANNELS)).map(lambda name: Node(CHANNELS[name], lambda values: channel(values, name))),
    numbers_.map(lambda number: Node(repr(number), lambda values: number)),
)
truths0 = st.booleans().map(lambda value: Node(str(value).lower(), lambda values: value))
ARITHMETIC: dict[str, Callable[..., Scalar]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
    "**": operator.pow,
}
COMPARE: dict[str, Callable[..., Scalar]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def channel(values: Mapping[str, float | None], name: str) -> float | None:
    value = values.get(name)
    return value if value is not None and math.isfinite(value) else None


def operation(left: Node, sign: str, right: Node) -> Node:
    return Node(f"({left}) {sign} ({right})", strict(ARITHMETIC[sign], left, right))


def comparison(left: Node, sign: str, middle: Node, sign2: str | None, right: Node) -> Node:
    first = Node("", strict(COMPARE[sign], left, middle))
    if sign2 is None:
        return Node(f"({left}) {sign} ({middle})", first.meaning)
    second = Node("", strict(COMPARE[sign2], middle, right))
    return Node(f"({left}) {sign} ({middle}) {sign2} ({right})", least(first, second))


def choice(then: Node, test: Node, other: Node) -> Node:
    def meaning(values: Mapping[str, float | None]) -> Scalar:
        decided = test.meaning(values)
        return None if decided is None else (then if decided else other).meaning(values)

    return Node(f"({then}) if ({test}) else ({other})", meaning)


def junction(parts: list[Node], *, conjunction: bool) -> Node:
    word = " and " if conjunction else " or "
    text = word.join(f"({part})" for part in parts)
    if conjunction:
        return Node(text, least(*parts))
    return Node(text, opposite(Node("", least(*map(opposite, parts)))).meaning)  # De Morgan


def grown(children: st.SearchStrategy[tuple[Node, Node]]) -> st.SearchStrategy[tuple[Node, Node]]:
    """Pairs of a number and a truth, of smaller ones."""
    number, condition = children.map(lambda pair: pair[0]), children.map(lambda pair: pair[1])
    numbers = st.one_of(
        st.builds(operation, number, st.sampled_from(list(ARITHMETIC)), number),
        number.map(lambda part: Node(f"-({part})", strict(operator.neg, part))),
        number.map(lambda part: Node(f"abs({part})", strict(abs, part))),
        st.lists(number, min_size=2, max_size=3).map(
            lambda parts: Node(f"min({', '.join(map(str, parts))})", strict(min, *parts))
        ),
        st.lists(number, min_size=2, max_size=3).map(
            lambda parts: Node(f"max({', '.join(map(str, parts))})", strict(max, *parts))
        ),
        st.builds(choice, number, condition, number),
    )
    truths = st.one_of(
        st.builds(
            comparison,
            number,
            st.sampled_from(list(COMPARE)),
            number,
            st.none() | st.sampled_from(list(COMPARE)),
            number,
        ),
        st.builds(junction, st.lists(condition, min_size=2, max_size=3), conjunction=st.booleans()),
        condition.map(opposite),
        number.map(lambda part: Node(f"known({part})", lambda values: part.meaning(values) is not None)),
        condition.map(lambda part: Node(f"known({part})", lambda values: part.meaning(values) is not None)),
        st.builds(choice, condition, condition, condition),
    )
    return st.tuples(numbers, truths)


conditions = st.recursive(st.tuples(leaves, truths0), grown, max_leaves=6).map(lambda pair: pair[1])
readings = st.dictionaries(
    st.sampled_from(["a", "b", "pH 2"]),
    st.none()
    | st.sampled_from([math.nan, INF, -INF, 0.0, -0.0, 1.0, 2.0, -3.0, 1e308, -1e308, 5e-324])
    | st.floats(-10, 10),
)


@settings(max_examples=200, deadline=None)
@given(conditions, readings)
def test_it_says_the_same_as_a_slow_evaluator(node: Node, values: dict[str, float | None]) -> None:
    try:
        formula = compile(node.text)
    except BadExpression as error:
        assert "longer" in error.problem or "parts" in error.problem or "nested" in error.problem  # noqa: PT017
        return
    expected = node.meaning(values)
    assert expected in {True, False, None}
    assert formula.truth(values) is expected


WORDS = [
    *("a", "b", "1", "2.5", "0", "(", ")", "+", "-", "*", "/", "%", "**", "<", "<=", ">", ">=", "==", "!="),
    *("and", "or", "not", "if", "else", ",", "abs", "min", "max", "true", "false", "known", "ch", '"a"'),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.floats(-5, 5), st.floats(-5, 5))
@example(["a", "<", "b", "<", "2.5", "and", "not", "a", ">", "1"], 1.0, 2.0)
@example(["-", "a", "**", "2.5", "<", "1"], 2.0, 2.0)
def test_signs_bind_as_in_python(words: list[str], a: float, b: float) -> None:
    """Where all is known. And whatever the words: refused, or one of the three truths."""
    text = " ".join(words)
    try:
        formula = compile(text)
    except BadExpression:
        return
    result = formula.truth({"a": a, "b": b})
    assert result in {True, False, None}
    if result is not None and "known" not in words:
        names = {"abs": abs, "min": min, "max": max, "true": True, "false": False, "a": a, "b": b, "ch": lambda _: a}
        # Where one side alone decides, Python may fail on the other.
        try:
            expected = eval(text, {"__builtins__": {}}, names)
        except ArithmeticError:
            return
        except TypeError:  # a complex number, compared
            return
        assert result is expected


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="ab1.(),<>=!+-*/%'\"#_ \n\\[]{}:@𝐚éch", max_size=60))
def test_any_text_is_refused_or_means_something(text: str) -> None:
    try:
        formula = compile(text)
    except BadExpression as error:
        column = error.column
    else:
        column = 1
        assert formula.truth({}) in {True, False, None}
    assert 1 <= column <= len(text) + 1
