"""The columns of a table of telemetry: what each is called and means, wide (a column a channel) or long (a row a
sample). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from api.queries.devices import Channel, Computed
from api.queries.selection import Selection
from api.shapes.exports import ColumnKind, TableShape

ChannelKey: TypeAlias = tuple[str, str | None]
"""A channel as a column has it: name and unit. Channels of one name with several units have a column for each."""
QUALITIES = {"0": "good", "1": "bad", "2": "uncertain"}


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column. `channel` and `unit` are those of a column for a channel."""

    name: str
    kind: ColumnKind
    channel: str | None = None
    unit: str | None = None
    formula: str | None = None
    """of a computed channel"""
    source: str | None = None

    def said(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "kind", "channel", "unit", "formula", "source")}


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, and the channels that it has."""

    shape: TableShape
    devices: tuple[str, ...]
    channels: tuple[ChannelKey, ...]
    everything: bool
    """Samples of all qualities, with their quality."""
    corrected: frozenset[ChannelKey]
    """Channels beside whose samples stands what was sent, where they are corrected."""
    columns: tuple[TableColumn, ...]


def key(channel: Channel) -> ChannelKey:
    return channel.name, channel.unit


def columns(selections: Sequence[Selection], shape: TableShape, *, with_device: bool) -> TableColumns:
    """The columns for these samples: of a device's channels in its order, then those that other devices add."""
    channels = tuple(dict.fromkeys(key(channel) for one in selections for channel in one.channels))
    everything = any(one.everything for one in selections)
    corrected = frozenset(
        key(channel) for one in selections if one.corrected for channel in one.channels if one.has_originals(channel)
    )
    found = [TableColumn("time", "time")]
    if with_device:
        found.append(TableColumn("device", "device"))
    if shape == "long":
        found += [TableColumn("channel", "channel"), TableColumn("unit", "unit"), TableColumn("value", "value")]
        found += [TableColumn("quality", "quality")] if everything else []
        found += _originals("", None, everything) if corrected else []
    else:
        computed = {key(one): one.computed for of in selections for one in of.channels if one.computed is not None}
        found += _of_channels(channels, everything, computed, corrected)
    devices = tuple(one.device.name for one in selections)
    return TableColumns(shape, devices, channels, everything, corrected, _told_apart(found))


def _of_channels(
    channels: Sequence[ChannelKey],
    everything: bool,
    computed: Mapping[ChannelKey, Computed],
    corrected: Collection[ChannelKey],
) -> list[TableColumn]:
    """One for each channel, its quality, and what was sent where it is corrected. A name that has several units has its
    unit in the title."""
    units = Counter(name for name, _ in channels)
    found = []
    for name, unit in channels:
        title = name if units[name] == 1 else f"{name} [{unit or ''}]"
        how = computed.get((name, unit))
        said = (None, None) if how is None else (how.formula, how.source)
        found.append(TableColumn(title, "value", name, unit, *said))
        if everything:
            found.append(TableColumn(f"{title}.quality", "quality", name))
        if (name, unit) in corrected:
            found += _originals(f"{title}.", name, everything)
    return found


def _originals(before: str, channel: str | None, everything: bool) -> list[TableColumn]:
    kinds: tuple[ColumnKind, ...] = ("original", "original_quality", "correction")
    return [TableColumn(f"{before}{kind}", kind, channel) for kind in kinds if everything or kind != "original_quality"]


def _told_apart(found: Sequence[TableColumn]) -> tuple[TableColumn, ...]:
    """Equal titles are numbered: a channel may be called `time`, or `ph.quality`."""
    seen: Counter[str] = Counter()
    told = []
    for one in found:
        seen[one.name] += 1
        again = seen[one.name]
        told.append(one if again == 1 else replace(one, name=f"{one.name} ({again})"))
    return tuple(told)
