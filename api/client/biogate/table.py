"""Telemetry as a table: from the API's answers to Arrow, and from Arrow to pandas and Polars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from biogate.infos import moment

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

TIME = pa.timestamp("us", tz="UTC")
WORD = pa.dictionary(pa.int32(), pa.string())
KEYS = ("device", "time")


@dataclass(frozen=True)
class TelemetryTable:
    """Samples, with what is to be known of them.

    A row is an instant, of a device if several were asked for, and a column is a channel; in mode `plot` a row is one
    sample, with the columns channel, unit, value and quality. Null is no sample.
    """

    arrow: pa.Table
    units: Mapping[str, str | None]
    """The unit of each column of values; None: nobody has said it."""
    warnings: Sequence[str]
    """What the answer does not have, or has only in part."""
    spans: Mapping[str, tuple[datetime, datetime]]
    """From when to when each device was read; empty in mode `at`."""
    bucket: str | None = None
    """The width of a bucket, as asked for or as chosen; None for samples."""

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __repr__(self) -> str:
        channels = ", ".join(self.arrow.column_names)
        return f"<TelemetryTable: {len(self)} rows, {channels}>"

    @property
    def columns(self) -> list[str]:
        names: list[str] = self.arrow.column_names
        return names

    def to_arrow(self) -> pa.Table:
        """Return the table; each field has its `unit` in the metadata."""
        return self.arrow

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with the time in UTC as its index, or (device, time) if several devices were asked for.

        `attrs["units"]` has the unit of each column, `attrs["warnings"]` what is missing. Values are float64, with NaN
        for null; qualities are Int16.
        """
        import pandas as pd  # noqa: PLC0415  # takes 0.3 s, and not everybody has it

        frame = self.arrow.to_pandas(types_mapper={pa.int16(): pd.Int16Dtype(), pa.int64(): pd.Int64Dtype()}.get)
        frame = frame.set_index([name for name in KEYS if name in self.arrow.column_names])
        frame.attrs = {"units": dict(self.units), "warnings": list(self.warnings), "bucket": self.bucket}
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars DataFrame with the columns as they are; Polars keeps no units: `units` has them."""
        import polars as pl  # noqa: PLC0415  # not everybody has it

        frame = pl.from_arrow(self.arrow)
        assert isinstance(frame, pl.DataFrame)
        return frame


def from_stream(table: pa.Table, facts: Mapping[str, Any], *, of_one_device: bool) -> TelemetryTable:
    """Return the table of a stream, whose fields say what they are. `facts` is its manifest."""
    drop = [field.name for field in table.schema if _said(field, "kind") == "device"] if of_one_device else []
    kept = table.drop_columns(drop)
    units = {field.name: _said(field, "unit") for field in kept.schema if _said(field, "kind") == "value"}
    return TelemetryTable(kept, units, facts["warnings"], spans(facts["devices"]))


def _said(field: pa.Field, name: str) -> str | None:
    value = (field.metadata or {}).get(name.encode())
    return None if value is None else value.decode()


def spans(devices: Sequence[Mapping[str, Any]]) -> dict[str, tuple[datetime, datetime]]:
    return {one["device"]: (moment(one["from"]), moment(one["to"])) for one in devices}


def from_rows(answer: Mapping[str, Any], *, of_one_device: bool, one_aggregate: bool) -> TelemetryTable:
    """Return the table of an answer of mode buckets or at, whose rows are (device, time, a value a column)."""
    rows, qualities = answer["rows"], answer["qualities"]
    fields = [] if of_one_device else [(pa.field("device", WORD), _words([row[0] for row in rows]))]
    fields.append((pa.field("time", TIME), instants([row[1] for row in rows])))
    titles = _titles(answer["columns"], one_aggregate=one_aggregate)
    units = {}
    for number, (column, title) in enumerate(zip(answer["columns"], titles, strict=True)):
        units[title] = column["unit"]
        kind = pa.int64() if column["aggregate"] == "count" else pa.float64()
        fields.append((_field(title, kind, column), pa.array([row[number + 2] for row in rows], kind)))
        if qualities is not None:
            marks = pa.array([row[number] for row in qualities], pa.int16())
            fields.append((pa.field(f"{title}.quality", pa.int16()), marks))
    return TelemetryTable(_table(fields), units, answer["warnings"], spans(answer["devices"]), answer["bucket"])


def _titles(columns: Sequence[Mapping[str, Any]], *, one_aggregate: bool) -> list[str]:
    """A channel, with the aggregate unless only one was asked for, and the unit where several have that name."""
    named = Counter((column["channel"], column["aggregate"]) for column in columns)
    found = []
    for column in columns:
        several = named[column["channel"], column["aggregate"]] > 1
        title = f"{column['channel']} [{column['unit'] or ''}]" if several else column["channel"]
        found.append(title if one_aggregate or column["aggregate"] is None else f"{title}.{column['aggregate']}")
    return [f"{title} (channel)" if title in KEYS else title for title in found]


def _field(title: str, kind: pa.DataType, column: Mapping[str, Any]) -> pa.Field:
    said = {name: column[name] for name in ("channel", "unit", "aggregate") if column[name] is not None}
    return pa.field(title, kind, metadata=said)


def from_series(answer: Mapping[str, Any], *, of_one_device: bool) -> TelemetryTable:
    """Return the table of an answer of mode plot: points, gaps as null, and samples that are not good, by time."""
    rows = sorted(_points(answer["series"]), key=lambda row: (row[0], row[2], row[1]))
    names = ("device", "channel", "time", "value", "quality", "unit")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    fields = [] if of_one_device else [(pa.field("device", WORD), _words(columns["device"]))]
    fields += [
        (pa.field("time", TIME), instants(columns["time"])),
        (pa.field("channel", WORD), _words(columns["channel"])),
        (pa.field("unit", WORD), _words(columns["unit"])),
        (pa.field("value", pa.float64()), pa.array(columns["value"], pa.float64())),
        (pa.field("quality", pa.int16()), pa.array(columns["quality"], pa.int16())),
    ]
    units = {one["channel"]: one["unit"] for one in answer["series"]}
    return TelemetryTable(_table(fields), units, answer["warnings"], spans(answer["devices"]))


def _points(
    series: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str, str, float | None, int | None, str | None]]:
    for one in series:
        head = one["device"], one["channel"]
        for time, value in one["points"]:
            yield (*head, time, value, None if value is None else 0, one["unit"])
        for time, quality, value in one["bad"]:
            yield (*head, time, value, quality, one["unit"])


def instants(texts: Sequence[str]) -> pa.Array:
    return pc.cast(pa.array(texts, pa.string()), TIME)


def _words(words: Sequence[str | None]) -> pa.Array:
    return pa.array(words, pa.string()).dictionary_encode()


def _table(fields: Sequence[tuple[pa.Field, pa.Array]]) -> pa.Table:
    return pa.table([array for _, array in fields], pa.schema([field for field, _ in fields]))
