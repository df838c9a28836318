"""Reads and writes files of rules in YAML, to import, to export and to keep under version control.

    rules:
      - name: temperature-high
        title: Temperature high
        priority: high
        when: {kind: limit, channel: temperature, level: high, limit: 38, deadband: 0.5}
        on_delay: 10

The reader takes the parser's events, with values as in YAML 1.2 (`no` is a text, only `true` is true). So it knows the
line of every value, and does without what a rule does not need: aliases (and with them "billion laughs"), tags, several
documents, keys given twice. Size, nesting and number of values are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml
from pydantic import ValidationError

from schema.alarms.rules import Rule
from schema.patterns import PATTERNS

MAX_BYTES = 1 << 20
MAX_DEPTH = 8
MAX_VALUES = 100_000
MAX_RULES = 1000
MAX_PROBLEMS = 50

INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.capitalize(), word.upper())
}
PLAIN_WORDS = {
    "missing": "the field is missing",
    "extra_forbidden": "there is no field of this name",
    "model_type": "a rule is required: fields, each with its name",
    "model_attributes_type": "fields are required, each with its name",
    "string_type": "a text is required: put it in quotes",
    "float_type": "a number is required, without quotes",
    "int_type": "a whole number is required, without quotes",
    "bool_type": "true or false is required",
    "list_type": "a list is required",
}
"""Our words for pydantic's error types."""

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Path = tuple[str | int, ...]
Loader: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class FileProblem:
    line: int
    """Line from 1; 0 for the whole file."""
    problem: str
    rule: str | None = None
    field: str | None = None
    """The field's path with dots: `when.limit`."""

    def __str__(self) -> str:
        place = [f"line {self.line}" if self.line else "", f"rule {self.rule}" if self.rule else "", self.field or ""]
        return ": ".join([", ".join(part for part in place if part), self.problem]).removeprefix(": ")


class BadFile(ValueError):
    """Raised with everything that is wrong with a file, up to a bound; nothing of the file is taken."""

    def __init__(self, problems: Sequence[FileProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load(text: str | bytes) -> list[Rule]:
    """Read the rules of a file. Raises BadFile."""
    tree = _Tree()
    document = tree.read(_events(_decoded(text)))
    if not isinstance(document, dict) or set(document) != {"rules"} or not isinstance(document["rules"], list):
        raise _bad(1, "a file of rules has `rules:` and below it a list, each with its name")
    items = document["rules"]
    if len(items) > MAX_RULES:
        raise _bad(tree.lines["rules", MAX_RULES], f"more than {MAX_RULES} rules")
    rules: list[Rule] = []
    problems: list[FileProblem] = []
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        path: Path = ("rules", index)
        try:
            rule = Rule.model_validate(item)
        except ValidationError as error:
            problems.extend(sorted(_problems(error, path, item, tree.lines), key=lambda problem: problem.line))
        else:
            line = tree.lines[(*path, "name")]
            if rule.name in seen:
                problem = f"a rule of this name stands in line {seen[rule.name]}"
                problems.append(FileProblem(line, problem, rule.name, "name"))
            seen.setdefault(rule.name, line)
            rules.append(rule)
        if len(problems) >= MAX_PROBLEMS:
            problems[MAX_PROBLEMS - 1 :] = [FileProblem(0, "more is wrong: these are the first problems")]
            break
    if problems:
        raise BadFile(problems)
    return rules


def dump(rules: Iterable[Rule]) -> str:
    """Write a file that `load` reads as the same rules. It has the defaults too, as another version may have others;
    only empty values are left out."""
    items = [_without_empty(_kind_first(rule)) for rule in rules]
    return yaml.dump({"rules": items}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _decoded(text: str | bytes) -> str:
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise _bad(0, f"the file is larger than {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(raw.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from None


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the events of the only document."""
    try:
        for event in yaml.parse(text, Loader=Loader):
            if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
                yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise _bad(mark.line + 1 if mark else 0, f"the file is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _bad(line, "a character that YAML does not allow") from None


@dataclass(slots=True)
class _Tree:
    """Builds plain values, and notes the line of each."""

    lines: dict[Path, int] = field(default_factory=dict)

    def read(self, events: Iterator[yaml.Event]) -> Plain:
        start = next(events, None)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise _bad(0, "the file is empty")
        value = self.value(next(events), (), events)
        second = next(events, None)
        if second is not None:
            raise _bad(_line(second), "one document is required, and here a second begins")
        return value

    def value(self, event: yaml.Event, path: Path, events: Iterator[yaml.Event]) -> Plain:
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent) or event.anchor:
            raise _bad(_line(event), "anchors and aliases (& and *) are not allowed: write the value out")
        if event.tag is not None:
            raise _bad(_line(event), f"tags ({event.tag}) are not allowed")
        if len(self.lines) >= MAX_VALUES:
            raise _bad(_line(event), f"more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise _bad(_line(event), f"nested more than {MAX_DEPTH} deep")
        self.lines[path] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return _resolved(event.value) if event.implicit[0] else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, events)
        return self.mapping(path, events)

    def sequence(self, path: Path, events: Iterator[yaml.Event]) -> list[Plain]:
        values: list[Plain] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            values.append(self.value(event, (*path, len(values)), events))
        return values

    def mapping(self, path: Path, events: Iterator[yaml.Event]) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise _bad(_line(event), "a name is required here")
            key = event.value
            if key in values:
                raise _bad(_line(event), f"{key} stands here twice")
            values[key] = self.value(next(events), (*path, key), events)
            self.lines[(*path, key)] = _line(event)
        return values


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _bad(line: int, problem: str) -> BadFile:
    return BadFile([FileProblem(line, problem)])


def _resolved(text: str) -> bool | int | float | str | None:
    """A plain value by the core schema of YAML 1.2, without octal and hexadecimal numbers, infinity and NaN."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def _problems(error: ValidationError, path: Path, item: Plain, lines: dict[Path, int]) -> Iterator[FileProblem]:
    name = item.get("name") if isinstance(item, dict) else None
    for detail in error.errors(include_url=False):
        # Below `when` pydantic also reports the kind, which is no field.
        location = tuple(part for n, part in enumerate(detail["loc"]) if not (n == 1 and detail["loc"][0] == "when"))
        place: Path = (*path, *location)
        while place not in lines:
            place = place[:-1]
        words = PLAIN_WORDS.get(detail["type"]) or PATTERNS.get(detail.get("ctx", {}).get("pattern", ""))
        problem = words or detail["msg"].removeprefix("Value error, ")
        dotted = ".".join(map(str, location)) or None
        yield FileProblem(lines[place], problem, name if isinstance(name, str) else None, dotted)


def _kind_first(rule: Rule) -> dict[str, Plain]:
    """The rule's fields, with the name first and the kind first in `when`."""
    fields: dict[str, Plain] = {"name": rule.name} | rule.model_dump(mode="json")
    return fields | {"when": {"kind": rule.when.kind, **rule.when.model_dump(mode="json")}}


def _without_empty(value: dict[str, Plain]) -> dict[str, Plain]:
    kept = {key: _without_empty(part) if isinstance(part, dict) else part for key, part in value.items()}
    return {key: part for key, part in kept.items() if part is not None and part not in ("", [], {})}


class _Dumper(yaml.SafeDumper):
    """Quotes texts that would be read as another type, and writes texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if isinstance(_resolved(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
