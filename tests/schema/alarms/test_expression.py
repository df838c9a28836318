"""Formulas: what they say, what is refused, and that they say the same as a slow evaluator of another kind."""

from __future__ import annotations

import math

import pytest

from schema.alarms.expression import compile
from schema.alarms.grammar import MAX_DEPTH, MAX_LENGTH, MAX_NODES, BadExpression

T, F, U = True, False, None
INF = float("inf")


def truth(text: str, **values: float | None) -> bool | None:
    return compile(text).truth(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1", T),
        ("a > 2", F),
        ("a >= 2 and a <= 2 and a == 2 and not a != 2", T),
        ("1 < a < 3", T),
        ("3 > a > 2", F),
        ("1 < 2 < a", F),
        ("a + b * 2 == 8", T),
        ("(a + b) * 2 == 10", T),
        ("-a ** 2 == -4", T),
        ("2 ** b ** a == 512", T),
        ("7 % b == 1 and -7 % b == 2", T),
        ("10 / 4 == 2.5", T),
        ("b - a - 1 == 0", T),
        ("abs(a - b) == 1 and abs(b - a) == 1", T),
        ("min(a, b, 1) == 1 and max(a, b) == 3", T),
        ("(a if a > b else b) == 3", T),
        ("a > b if true else b > a", F),
        ("not a > b and not false", T),
        ("a > 9 or b > 9 or a < b", T),
        ("10 ** -a == 0.01", T),
        ("+a == 2", T),
        ("ch(\"pH 2\") < 7 and ch('a') == 2", T),
        ("known(a) and not known(gone)", T),
        ("known(a > gone) or known(a > b)", T),
        ("é > 4", T),
        ("a\n  > 1\r\n\tand b > 1", T),
        ("  a > 1  ", T),
        ("a > 1e-3 and a < .5e1 and a == 2.", T),
        ("ln(exp(a)) == 2 and ln(1) == 0", T),
    ],
)
def test_what_is_known(text: str, expected: bool) -> None:
    values = {"a": 2.0, "b": 3.0, "pH 2": 6.5, "é": 5.0}
    assert compile(text).truth(values) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Kleene's tables.
        ("t and u", U), ("u and t", U), ("f and u", F), ("u and f", F), ("u and u", U), ("t and t", T), ("t and f", F),
        ("t or u", T), ("u or t", T), ("f or u", U), ("u or f", U), ("u or u", U), ("f or f", F), ("f or t", T),
        ("not u", U), ("not t", F), ("not f", T),
        ("u and u and f", F), ("u or u or t", T), ("t and u and t", U),
        # A chain is an `and`.
        ("0 < x < 1", U), ("1 < 0 < x", F), ("x < 1 < 0", F),
        # One side of a choice.
        ("t if u else t", U), ("t if t else u", T), ("u if t else t", U), ("u if f else f", F),
        ("(1 if u else 1) == 1", U), ("(1 if t else x) == 1", T),
        # Arithmetic.
        ("x + 1 > 0", U), ("x * 0 == 0", U), ("-x > 0", U), ("abs(x) >= 0", U), ("min(x, 1) <= 1", U),
        ("x ** 0 == 1", U), ("x == x", U), ("known(x)", F), ("known(u)", F), ("known(1 / 0)", F),
        # What has no result.
        ("1 / 0 > 0", U), ("1 % 0 > 0", U), ("0 ** -1 > 0", U), ("(-8) ** 0.5 > 0", U), ("10 ** 400 > 0", U),
        ("1e308 * 10 > 0", U), ("1e308 + 1e308 > 0", U), ("-1e308 - 1e308 < 0", U), ("1e308 / 1e-10 > 0", U),
        ("1 / (1e308 * 10) == 0", U), ("min(1e308 * 10, 1) == 1", U), ("1 / 0 > 0 or t", T),
        ("abs(-1e308) > 0", T), ("ln(0) < 0", U), ("ln(-1) < 0", U), ("ln(x) < 0", U), ("exp(710) > 0", U),
        ("exp(-1000) == 0", T), ("ln + exp > 0", U),
    ],
)  # fmt: skip
def test_what_is_unknown(text: str, expected: bool | None) -> None:
    for letter, comparison in (("t", "(one == 1)"), ("f", "(one == 2)"), ("u", "(x > 0)")):
        text = " ".join(
            word.replace(letter, comparison) if word.strip("()") == letter else word for word in text.split(" ")
        ).replace(f"known({letter})", f"known({comparison})")
    formula = compile(text)
    for x in ({}, {"x": None}, {"x": math.nan}, {"x": INF}, {"x": -INF}):
        assert formula.truth({"one": 1.0, **x}) is expected, text


def test_a_formula_says_which_channels_it_reads() -> None:
    formula = compile('a > 1 and (ch("pH 2") < 7 or a < b) and known(c) and true')
    assert formula.channels == {"a", "b", "c", "pH 2"}
    assert compile("true").channels == frozenset()
    assert formula == compile(formula.text)


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "empty"),
        (" \n", 1, "empty"),
        ("a", 1, "this is a number; a condition"),
        ("a + 1", 1, "this is a number; a condition"),
        ("a if b > 1 else c", 1, "this is a number; a condition"),
        ("b > 1 and a", 11, "a: a condition is required"),
        ("  b > 1 and\n not a", 18, "a: a condition is required"),
        ("not a", 5, "a condition is required"),
        ("(a > 1) > 1", 2, "a number is required"),
        ("a == true", 6, "a number is required"),
        ("é == 1 and ü", 12, "ü: a condition"),
        ("abs(a > 1) > 1", 5, "a number is required"),
        ("(1 if a > 1 else b > 1) == 1", 2, "both sides"),
        ("a > 1 if b else a > 2", 10, "a condition is required"),
        ("a = 1", 3, '"=="'),
        ("a && b", 3, '"and"'),
        ("a || b", 3, '"or"'),
        ("!a", 1, '"not"'),
        ("a ^ 2 > 1", 3, r'"\*\*"'),
        ("a.real > 1", 2, r'ch\("a.b"\)'),
        ("a[0] > 1", 2, "no lists"),
        ("{1} > 1", 1, "no sets"),
        ("a > 1 # and b", 7, "comments"),
        ("a > 1; b > 1", 6, ";"),
        ("lambda: true", 7, ":"),
        ("(b := 1) > 0", 4, ":"),
        ("a > \\\n1", 5, "backslash"),
        ("a\N{NO-BREAK SPACE}> 1", 2, r"U\+00A0"),
        ("a > 1\x00", 6, r"U\+0000"),
        ("~a > 1", 1, "~"),
        ("a @ b > 1", 3, "@"),
        ("a $ b", 3, r"\$"),
        ("a // 2 > 1", 1, "the operators"),
        ("a << 2 > 1", 1, "the operators"),
        ("a in b", 1, "the comparisons"),
        ("a is b", 1, "the comparisons"),
        ("a not in b", 1, "the comparisons"),
        ("a <> b", 3, "cannot be read"),
        ("'a' > 1", 1, "text is only allowed in ch"),
        ("f'{a}' > 1", 1, "text is only allowed in ch"),
        ("b'a' > 1", 1, "text is only allowed in ch"),
        ("ch(r'a') > 1", 4, "text is only allowed in ch"),
        ("ch('a') > 'b", 11, "text is only allowed in ch"),
        ("ch('a\nb') > 1", 4, "text is only allowed in ch"),
        ("ch('a\\x41') > 1", 4, "text is only allowed in ch"),
        ("ch('''a''') > 1", 4, "text"),
        ("ch('a' 'b') > 1", 4, "one text"),
        ("ch('') > 1", 4, "1 to 64"),
        (f"ch('{'x' * 65}') > 1", 4, "1 to 64"),
        (f"{'x' * 65} > 1", 1, "1 to 64"),
        ("ch('\x85') > 1", 4, "control characters"),
        ("ch(a) > 1", 4, "in quotes"),
        ("ch('a', 'b') > 1", 1, "one value"),
        ("ch() > 1", 1, "one value"),
        ("known() or true", 1, "one value"),
        ("known('a')", 7, "text is only allowed in ch"),
        ("min(a) > 1", 1, "two values or more"),
        ("min(*a, *b) > 1", 5, "not part of the language"),
        ("abs(**a) > 1", 1, "the functions"),
        ("eval(a) > 1", 1, "the functions are abs, min, max, known, ch"),
        ("previous(a) > 1", 1, "the functions"),
        ("__import__('os') > 1", 1, "the functions"),
        ("a(1) > 1", 1, "the functions"),
        ("ln(a, b) > 1", 1, "one value"),
        ('rate(a, "1h") > 1', 1, "samples over time.*a rule of kind rate"),
        ("abs(a)(1) > 1", 1, "the functions"),
        ("abs > 1", 1, r"ch\(\"abs\"\)"),
        ("a > max", 5, "a function"),
        ("True", 1, "written small"),
        ("None > 1", 1, "."),
        ("... > 1", 1, "."),
        ("7,2 < a", 1, "decimals have a point"),
        ("(a, b) > 1", 1, "decimals have a point"),
        ("() > 1", 1, "a comma"),
        ("max(x for x in a) > 1", 1, "two values"),
        ("abs(x for x in a) > 1", 4, "not part of the language"),
        ("await a > 1", 1, "not part of the language"),
        ("(yield) > 1", 2, "not part of the language"),
        ("*a > 1", 1, "."),
        ("a > 1e999", 5, "too large"),
        ("a > " + "9" * 400, 5, "too large"),
        ("a > 0x10", 5, "not a number"),
        ("a > 1_000", 5, "not a number"),
        ("a > 1j", 5, "not a number"),
        ("a > 1.2.3", 5, "not a number"),
        ("a > 1or b > 1", 5, "not a number"),
        ("a > 010", 5, "cannot be read"),
        ("a > ١", 5, "."),
        ("a >", 4, "ends too early"),
        ("a > 1 b", 7, "cannot be read"),
        ("(a > 1", 1, "cannot be read"),
        ("a > 1)", 6, "cannot be read"),
        ("a > 1) or (a > 1", 6, "cannot be read"),
        ("if a > 1", 1, "cannot be read"),
        ("a > 1\nb > 1", 7, "cannot be read"),
        # Python reads both as `a`, `true`: people do not.
        ("ａ > 1", 1, "normal form"),
        ("𝐭𝐫𝐮𝐞", 1, "normal form"),
        ("e\N{COMBINING ACUTE ACCENT} > 1", 2, r"U\+0301"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "longer than"),
        ("(" * 500, MAX_DEPTH + 1, "parentheses"),
        ("(" * 65 + "a > 1" + ")" * 65, MAX_DEPTH + 1, "parentheses"),
        ("-" * 900 + "a > 1", MAX_DEPTH - 1, "nested"),
        ("not " * 240 + "a > 1", 253, "nested"),
        ("a" + "+1" * 400 + " > 1", 1, "nested"),
        ("a" + "**1" * 300 + " > 1", 187, "nested"),
        ("a>1" + " or a>1" * 120, 1, "parts"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(text: str, column: int, why: str) -> None:
    with pytest.raises(BadExpression, match=why) as caught:
        compile(text)
    if not why.startswith(("nested", "parts")):
        assert caught.value.column == column
    assert str(caught.value) == f"column {caught.value.column}: {caught.value.problem}"


def test_what_is_within_the_bounds_is_taken() -> None:
    assert compile("(" * 64 + "a > 1" + ")" * 64).truth({"a": 2}) is True
    assert compile("a" + "+1" * 60 + " > 1").truth({"a": 2}) is True
    terms = " or ".join(["a>1"] * (MAX_NODES // 3 - 1))
    assert compile(terms).truth({"a": 2}) is True
    assert compile(f"ch('{'x' * 64}') > 1").channels == {"x" * 64}


def test_whole_numbers_do_not_grow_without_a_bound() -> None:
    assert truth("a ** 2 == 4", a=2) is True
    assert truth("a ** a ** a > 1", a=10**6) is None
    assert truth("a * a > 1", a=10**200) is None
    assert truth("a ** b > 1", a=9, b=1e300) is None


def test_nothing_of_the_process_can_be_reached() -> None:
    formula = compile("a > 1 and min(a, 2) == 2 and a ** 2 > 1")
    reached = formula.truth.__globals__
    assert set(reached) == {"__builtins__", "minimum", "maximum", "power", "logarithm", "exponential"}
    assert reached["__builtins__"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "class",
        "__builtins__",
        "v0",
        "x",
        "values",
        "get",
        "power",
        "None",
        "truth",
        "a'b",
        'a"b',
        "}",
        "{x}",
        "%s",
        "π",
    ],
)
def test_channels_may_have_any_name(name: str) -> None:
    quote = "'" if '"' in name else '"'
    assert compile(f"ch({quote}{name}{quote}) > 1 and x2 > 1").truth({name: 2, "x2": 2}) is True
