"""A mapping file (YAML): which heading is which device, channel and unit, and how the file is written.

A template of a heading is text with fields in braces: {vessel} (digits), {name}, {role} (a dot and a word), {unit}. A
field that stands twice is the same text twice. There are no patterns: a template is matched in bounded time.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gateway.history.errors import UnusableFile
from gateway.history.tables import FileForm
from schema.local_times import zone_of

FIELDS = {"vessel": r"\d{1,6}", "name": r".{1,64}?", "role": r"\.[A-Za-z]{1,16}", "unit": r"[^\[\]()]{0,32}"}
MOST_HEADING = 200
"""Most characters of a heading that is matched."""
READY = "mappings"
MOST_BYTES = 2**18
"""Bytes of a mapping file."""

OPTIONS = {
    "zone": "time.zone",
    "time_column": "time.column",
    "date_column": "time.date",
    "time_form": "time.form",
    **{name: name for name in ("device", "device_column", "delimiter", "decimal", "encoding")},
}
"""What can be said beside a mapping → where it stands in one."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_HEADING)]


class ChannelColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a name in the headings stands for. `unit` is the unit in the file, where the heading does not say it."""

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    unit: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    ignore: bool = False


class TimeColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column of times, and that of dates if these stand apart; the form of both, with a blank between, as of
    strptime; the zone of local times."""

    column: Text | None = None
    date: Text | None = None
    form: Text | None = None
    zone: Text | None = None


class LongColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The columns of a long table, which has a sample in each row: what its channel is called, its value, and perhaps
    its unit and its quality."""

    channel: Text
    value: Text
    unit: Text | None = None
    quality: Text | None = None


class FileMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """All that a mapping file can say."""

    title: str = ""
    encoding: Text | None = None
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    sections: Text | None = None
    time: TimeColumns = TimeColumns()
    device: Text | None = None
    """The name of the devices; {vessel} stands for the vessel in the heading."""
    device_column: Text | None = None
    long: LongColumns | None = None
    headings: Annotated[list[Text], msgspec.Meta(max_length=20)] = []
    channels: dict[Text, str | ChannelColumn | None] = {}
    """By the name in the heading (with its role), or in the rows of a long table; null: the column is ignored."""
    others: Literal["keep", "ignore"] = "keep"
    """What becomes of columns whose name is not in `channels`."""

    @property
    def form(self) -> FileForm:
        return FileForm(self.encoding, self.delimiter, self.decimal, self.sections)

    @cached_property
    def patterns(self) -> list[re.Pattern[str]]:
        return [template_pattern(template) for template in self.headings]

    def column_of(self, name: str) -> ChannelColumn | None:
        """What the name stands for; None if the mapping does not say."""
        if name not in self.channels:
            return ChannelColumn(ignore=True) if self.others == "ignore" else None
        said = self.channels[name]
        if said is None:
            return ChannelColumn(ignore=True)
        return ChannelColumn(said) if isinstance(said, str) else said


class Heading(NamedTuple):
    """A heading taken apart; None: the part is missing."""

    name: str
    vessel: str | None = None
    unit: str | None = None


def template_pattern(template: str) -> re.Pattern[str]:
    """The pattern of a template. Raises UnusableFile."""
    seen: set[str] = set()
    pattern = ""
    for text, field in re.findall(r"([^{]*)(?:\{([^}]*)\}|$)", template):
        pattern += re.escape(text)
        if field in seen:
            pattern += f"(?P={field})"
        elif field in FIELDS:
            pattern += f"(?P<{field}>{FIELDS[field]})"
            seen.add(field)
        elif field:
            raise UnusableFile(f"{{{field}}} is no field of a heading: use {', '.join(map('{{{}}}'.format, FIELDS))}")
    if "name" not in seen:
        raise UnusableFile(f"the template of headings {template!r} has no {{name}}")
    return re.compile(pattern)


def take_apart(heading: str, patterns: list[re.Pattern[str]]) -> Heading | None:
    """The parts of a heading by the first pattern that fits; None if none does."""
    if len(heading) <= MOST_HEADING:
        for pattern in patterns:
            if match := pattern.fullmatch(heading):
                found = match.groupdict()
                return Heading(found["name"] + (found.get("role") or ""), found.get("vessel"), found.get("unit"))
    return None


def ready_mappings() -> list[str]:
    """The names of the mappings that come with the product."""
    return sorted(one.name.removesuffix(".yaml") for one in _directory().iterdir() if one.name.endswith(".yaml"))


def load_mapping(given: str | None) -> FileMapping:
    """The mapping in this file, or of this name; None: one that says nothing. Raises UnusableFile."""
    if given is None:
        return FileMapping()
    path = Path(given)
    return parse_mapping(path.read_bytes()) if path.is_file() else load_ready(given)


def load_ready(name: str) -> FileMapping:
    """The mapping of this name that comes with the product. Raises UnusableFile."""
    if name not in ready_mappings():
        known = ", ".join(ready_mappings())
        raise UnusableFile(f"there is no mapping {name!r}: give a file, or one that comes with Biogate: {known}")
    return parse_mapping(_directory().joinpath(f"{name}.yaml").read_bytes())


def parse_mapping(content: bytes) -> FileMapping:
    """The mapping in a YAML document. Raises UnusableFile."""
    if len(content) > MOST_BYTES:
        raise UnusableFile(f"the mapping has more than {MOST_BYTES} bytes")
    try:
        mapping = msgspec.yaml.decode(content, type=FileMapping)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnusableFile(f"the mapping is not usable: {error}") from error
    assert mapping.patterns is not None  # a wrong template is told now
    return mapping


def changed(mapping: FileMapping, said: Mapping[str, str | None]) -> FileMapping:
    """The mapping, with what is said by OPTIONS in its place; None says nothing. Raises UnusableFile."""
    content = msgspec.to_builtins(mapping)
    for option, value in said.items():
        if value is not None:
            part, _, name = OPTIONS[option].rpartition(".")
            (content[part] if part else content)[name] = value
    try:
        mapping = msgspec.convert(content, FileMapping)
        codecs.lookup(mapping.encoding or "utf-8")
    except (msgspec.ValidationError, LookupError) as error:
        raise UnusableFile(f"an option is not usable: {error}") from error
    if mapping.time.zone is not None:
        zone_named(mapping.time.zone)
    return mapping


def zone_named(name: str) -> ZoneInfo:
    """The zone of this name. Raises UnusableFile."""
    try:
        return zone_of(name)
    except ValueError as error:
        raise UnusableFile(str(error)) from error


def _directory() -> Any:
    return files("gateway.history").joinpath(READY)
