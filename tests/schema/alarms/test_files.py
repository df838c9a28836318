"""Rules as files: what is read, where errors are said to be, and that an export is read as the same rules."""

from __future__ import annotations

import time
from typing import cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schema import plain_yaml
from schema.alarms.files import MAX_BYTES, MAX_PROBLEMS, MAX_RULES, BadFile, dump, load
from schema.alarms.rules import Rule
from schema.plain_yaml import MAX_VALUES

TWO = """\
# Of the cell culture lab.
rules:
  - name: temperature-high
    title: "Temperature high: now"
    priority: high
    when: {kind: limit, channel: temperature, level: high, limit: 38, deadband: .5}
    on_delay: 10
    response: |
      Look at the jacket.
      Then call.
  - name: hot-and-sour
    title: no
    latch: true
    when:
      kind: formula
      expression: >
        temperature > 38
        and ph < 6.8
    scope: {phases: [batch, fed-batch], devices: [br-1]}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(BadFile) as caught:
        load(text)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_many_rules_in_one_file() -> None:
    first, second = load(TWO)
    assert (first.name, first.title, first.on_delay) == ("temperature-high", "Temperature high: now", 10.0)
    assert first.response == "Look at the jacket.\nThen call.\n"
    assert second.title == "no"
    assert second.channels == {"temperature", "ph"}
    assert second.scope.phases == ["batch", "fed-batch"]
    assert load(TWO.encode()) == [first, second]
    assert load(b"\xef\xbb\xbf" + TWO.replace("\n", "\r\n").encode()) == [first, second]
    assert load("rules: []") == []


def test_an_export_is_for_people() -> None:
    assert (
        dump(load(TWO))
        == """\
rules:
- name: temperature-high
  title: 'Temperature high: now'
  enabled: true
  priority: high
  when:
    kind: limit
    channel: temperature
    level: high
    limit: 38.0
    deadband: 0.5
  on_delay: 10.0
  off_delay: 0.0
  stale_after: 60.0
  unknown: hold
  latch: false
  response: |
    Look at the jacket.
    Then call.
- name: hot-and-sour
  title: 'no'
  enabled: true
  priority: medium
  scope:
    devices:
    - br-1
    phases:
    - batch
    - fed-batch
  when:
    kind: formula
    expression: |
      temperature > 38 and ph < 6.8
  on_delay: 0.0
  off_delay: 0.0
  stale_after: 60.0
  unknown: hold
  latch: true
"""
    )
    assert dump([]) == "rules: []\n"


def test_every_error_names_rule_line_and_field() -> None:
    text = """\
rules:
  - name: Temperature
    title: 5
    when: {kind: limit, channel: t, level: high,
      limit: "38", deadband: 40}
    extra: 1
  - name: dotted
    title: x
    when:
      kind: formula
      expression: a.b > 1
  - title: x
    when:
      kind: limmit
  - 7
  - name: both
    title: x
    clear: t < 3
    when: {kind: limit, channel: t, level: high, limit: 1, deadband: 0.5}
  - name: lists
    title: yes
    enabled: yes
    scope:
      phases:
        - a
        - a
      devices:
        - br-1
        - "+"
    when:
      kind: limit
      channel: t
      level: high
      limit: 1
      deadband: 2
"""
    found = problems(text)
    expected = [
        "line 2, rule Temperature, name: ",
        "line 3, rule Temperature, title: a text is required: put it in quotes",
        "line 5, rule Temperature, when.limit: a number is required, without quotes",
        "line 6, rule Temperature, extra: there is no field of this name",
        'line 11, rule dotted, when.expression: column 2: .: a channel with a dot in its name is written ch("a.b")',
        "line 12, name: the field is missing",
        "line 13, when: ",
        "line 15: a rule is required: fields, each with its name",
        "line 16, rule both: `clear` and a deadband both say when the alarm returns: give one of them",
        "line 22, rule lists, enabled: true or false is required",
        "line 24, rule lists, scope.phases: twice in the list: a",
        "line 29, rule lists, scope.devices.1: a device's name has",
        "line 30, rule lists, when: the deadband is larger than the limit: the alarm would return only at -1",
    ]
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_of_two_rules_with_one_name_both_lines_are_named() -> None:
    again = TWO + TWO[TWO.index("  - name: hot") :]
    assert problems(again) == ["line 20, rule hot-and-sour, name: a rule of this name stands in line 11"]


DEEP = "[" * 20 + "]" * 20
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty"),
        ("# nothing", "the file is empty"),
        ("a: 1", "line 1: a file of rules has `rules:`"),
        ("- name: a", "line 1: a file of rules has `rules:`"),
        ("rules: {a: 1}", "line 1: a file of rules has `rules:`"),
        ("rules:", "line 1: a file of rules has `rules:`"),
        ("rules: []\nmore: 1", "line 1: a file of rules has `rules:`"),
        ("rules: [", "line 2: the file is not YAML"),
        ("rules:\n\t- a", "line 2: the file is not YAML"),
        ("rules:\n  - name: a\n   title: b", "line 3: the file is not YAML"),
        ("rules: []\n---\nrules: []", "line 2: one document is required"),
        ("rules: []\nrules: []", "line 2: rules stands here twice"),
        ("rules:\n- name: a\n  name: b", "line 3: name stands here twice"),
        ("rules:\n- ? [a]\n  : b", "line 2: a name is required here"),
        (LAUGHS, "line 1: anchors and aliases"),
        ("rules: &r\n- *r", "line 1: anchors and aliases"),
        ("rules:\n- *r", "line 2: anchors and aliases"),
        ("rules: []\nx: !!python/object/apply:os.system [id]", "line 2: tags (tag:yaml.org,2002:python/object/apply"),
        ("rules: !!int 3", "line 1: tags (tag:yaml.org,2002:int)"),
        ("rules: !own []", "line 1: tags (!own)"),
        ("rules: ! x", "line 1: tags (!)"),
        (DEEP, "line 1: nested more than 8 deep"),
        ("{a: " * 20 + "}" * 20, "line 1: nested more than 8 deep"),
        ("- " * 20, "line 1: nested more than 8 deep"),
        # The parser has a bound of its own, and which of the two is met first is up to its version.
        ("[" * 10_000, "line 1: "),
        ("{a: " * 10_000, "line 1: "),
        ("- " * 10_000, "line 1: "),
        (b"rules:\n- \xff", "line 2: the file is not UTF-8"),
        ("rules:\n- \ud800", "line 2: the file is not UTF-8"),
        ("rules:\n- \x00", "line 2: a character that YAML does not allow"),
        ("rules:\n- \x1b", "line 2: "),
        ("rules: " + "x" * MAX_BYTES, f"the file is larger than {MAX_BYTES} bytes"),
        ("rules: [" + "1," * (MAX_VALUES + 1), f"line 1: more than {MAX_VALUES} values"),
        ("rules:\n" + "- 1\n" * (MAX_RULES + 1), f"line {MAX_RULES + 2}: more than {MAX_RULES} rules"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_file_of_rules(text: str | bytes, why: str) -> None:
    begun = time.process_time()
    [problem] = problems(text)
    assert problem.startswith(why)
    assert time.process_time() - begun < 5


def test_what_is_wrong_is_listed_up_to_a_bound() -> None:
    found = problems("rules:\n" + "- 1\n" * MAX_RULES)
    assert len(found) == MAX_PROBLEMS
    assert found[0].startswith("line 2:")
    assert found[-1] == "more is wrong: these are the first problems"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("7.5", 7.5), (".5", 0.5), ("7.", 7.0), ("1e3", 1000.0), ("1E-3", 0.001), ("007", 7),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        # Texts, unlike in YAML 1.1.
        ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("0x10", "0x10"), ("1_000", "1_000"), (".inf", ".inf"),
        (".nan", ".nan"), ("2026-11-20", "2026-11-20"), ("=", "="), ("'7'", "7"), ('"true"', "true"), ("9" * 30, 1e30),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    [read] = cast(list[object], plain_yaml.read(f"- {text}\n")[0])
    assert read == value
    assert type(read) is type(value)


def test_both_parsers_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML comes with and without the C library."""
    with_c = load(TWO)
    monkeypatch.setattr(plain_yaml, "Loader", yaml.SafeLoader)
    assert load(TWO) == with_c
    assert problems("rules: [")[0].startswith("line ")
    assert problems("rules:\n- \x00") == ["line 2: a character that YAML does not allow"]
    assert problems(LAUGHS)[0].startswith("line 1: anchors")
    assert problems(DEEP) == ["line 1: nested more than 8 deep"]


letters = st.characters(exclude_categories=("Cc", "Cs"))
lines = st.text(letters, min_size=1, max_size=40).filter(str.strip) | st.sampled_from(
    [
        "no",
        "7",
        "1e3",
        "null",
        "~",
        "1:30",
        "- a",
        "a: b",
        "#",
        " x ",
        "'",
        '"',
        "[a",
        "&a",
        "*a",
        "!a",
        "=",
        "<<",
        "\ufeff",
        "x\u2028",
    ]
)
texts = st.text(letters | st.sampled_from("\n\t"), max_size=80) | lines
positive = st.floats(1e-9, 3600) | st.sampled_from([1.0, 60.0, 0.1, 1e-9])
names = st.from_regex("[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)
channels = st.text(letters, min_size=1, max_size=64).filter(str.strip)
whens = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("limit"),
            "channel": channels,
            "level": st.sampled_from(["low-low", "low", "high", "high-high"]),
            "limit": st.floats(allow_nan=False, allow_infinity=False),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("deviation"), "channel": st.just("a"), "setpoint": st.none() | st.just("b"), "limit": positive}
    ),
    st.fixed_dictionaries({"kind": st.just("rate"), "channel": channels, "limit": positive, "window": positive}),
    st.fixed_dictionaries({"kind": st.just("frozen"), "channel": channels, "after": positive, "tolerance": positive}),
    st.fixed_dictionaries({"kind": st.just("gap"), "frames": st.integers(1, 1_000_000), "window": positive}),
    st.fixed_dictionaries(
        {"kind": st.just("formula"), "expression": st.sampled_from(["a > 1", "a\n > 1 ", '\tch("x: y") < 7', "é>0"])}
    ),
)
rules = st.builds(
    lambda **fields: Rule.model_validate(fields),
    name=names,
    title=lines.map(lambda text: text[:100]),
    enabled=st.booleans(),
    priority=st.sampled_from(["low", "critical"]),
    scope=st.fixed_dictionaries(
        {
            "tags": st.lists(lines, max_size=3, unique=True),
            "devices": st.lists(st.sampled_from(["1", "null", "x.y"]), unique=True),
        }
    ),
    when=whens,
    clear=st.none() | st.just("b > 1"),
    on_delay=positive,
    latch=st.booleans(),
    message=texts,
    response=texts,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rules, max_size=3, unique_by=lambda rule: rule.name))
def test_an_export_is_read_as_the_same_rules(some: list[Rule]) -> None:
    assert load(dump(some)) == some


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="rules:- \n[]{}&*!|>'\"#?,a1%@\t", max_size=100))
def test_any_file_is_refused_or_read(text: str | bytes) -> None:
    try:
        assert isinstance(load(text), list)
    except BadFile as error:
        assert error.problems  # noqa: PT017
