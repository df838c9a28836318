"""Reads and writes files of rules in YAML, to import, to export and to keep under version control.

    rules:
      - name: temperature-high
        title: Temperature high
        priority: high
        when: {kind: limit, channel: temperature, level: high, limit: 38, deadband: 0.5}
        on_delay: 10

What YAML may have in it: schema/plain_yaml.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import yaml
from pydantic import ValidationError

from schema import plain_yaml
from schema.alarms.rules import Rule
from schema.patterns import PATTERNS
from schema.plain_yaml import NotPlain, Path, Plain, resolved

MAX_BYTES = plain_yaml.MAX_BYTES
MAX_RULES = 1000
MAX_PROBLEMS = 50

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
    try:
        document, lines = plain_yaml.read(text)
    except NotPlain as error:
        raise _bad(error.line, error.problem) from None
    if not isinstance(document, dict) or set(document) != {"rules"} or not isinstance(document["rules"], list):
        raise _bad(1, "a file of rules has `rules:` and below it a list, each with its name")
    items = document["rules"]
    if len(items) > MAX_RULES:
        raise _bad(lines["rules", MAX_RULES], f"more than {MAX_RULES} rules")
    rules: list[Rule] = []
    problems: list[FileProblem] = []
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        path: Path = ("rules", index)
        try:
            rule = Rule.model_validate(item)
        except ValidationError as error:
            problems.extend(sorted(_problems(error, path, item, lines), key=lambda problem: problem.line))
        else:
            line = lines[(*path, "name")]
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


def _bad(line: int, problem: str) -> BadFile:
    return BadFile([FileProblem(line, problem)])


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
    style = "|" if "\n" in text else None if isinstance(resolved(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
