"""Reads YAML of people: plain values, each with its line, for words about what is wrong with it. Pure.

The reader takes the parser's events, with values as in YAML 1.2 (`no` is a text, only `true` is true). So it knows the
line of every value, and does without what nobody needs here: aliases (and with them "billion laughs"), tags, several
documents, keys given twice. Size, nesting and number of values are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 8
MAX_VALUES = 100_000

INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.capitalize(), word.upper())
}

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Path = tuple[str | int, ...]
Loader: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlain(ValueError):
    """Raised for a file that cannot be read, with the line from 1; 0 for the whole file."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.line, self.problem = line, problem


def read(text: str | bytes) -> tuple[Plain, dict[Path, int]]:
    """Read the only document: its value, and the line of each part by its path. Raises NotPlain."""
    tree = _Tree()
    return tree.read(_events(_decoded(text))), tree.lines


def _decoded(text: str | bytes) -> str:
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise NotPlain(0, f"the file is larger than {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotPlain(raw.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from None


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the events of the only document."""
    try:
        for event in yaml.parse(text, Loader=Loader):
            if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
                yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise NotPlain(mark.line + 1 if mark else 0, f"the file is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotPlain(line, "a character that YAML does not allow") from None


@dataclass(slots=True)
class _Tree:
    """Builds plain values, and notes the line of each."""

    lines: dict[Path, int] = field(default_factory=dict)

    def read(self, events: Iterator[yaml.Event]) -> Plain:
        start = next(events, None)
        if not isinstance(start, yaml.DocumentStartEvent):
            raise NotPlain(0, "the file is empty")
        value = self.value(next(events), (), events)
        second = next(events, None)
        if second is not None:
            raise NotPlain(_line(second), "one document is required, and here a second begins")
        return value

    def value(self, event: yaml.Event, path: Path, events: Iterator[yaml.Event]) -> Plain:
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent) or event.anchor:
            raise NotPlain(_line(event), "anchors and aliases (& and *) are not allowed: write the value out")
        if event.tag is not None:
            raise NotPlain(_line(event), f"tags ({event.tag}) are not allowed")
        if len(self.lines) >= MAX_VALUES:
            raise NotPlain(_line(event), f"more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise NotPlain(_line(event), f"nested more than {MAX_DEPTH} deep")
        self.lines[path] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return resolved(event.value) if event.implicit[0] else str(event.value)
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
                raise NotPlain(_line(event), "a name is required here")
            key = event.value
            if key in values:
                raise NotPlain(_line(event), f"{key} stands here twice")
            values[key] = self.value(next(events), (*path, key), events)
            self.lines[(*path, key)] = _line(event)
        return values


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def resolved(text: str) -> bool | int | float | str | None:
    """A plain value by the core schema of YAML 1.2, without octal and hexadecimal numbers, infinity and NaN."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text
