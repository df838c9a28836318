"""Lab samples joined to the telemetry of their time, device by device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from api.database import Database
from api.queries import lab_samples, selection, telemetry_at
from api.queries.deadline import Deadline
from api.queries.telemetry_at import AtWish
from api.queries.telemetry_columns import columns
from api.shapes.sample_telemetry import SampleTelemetryParameters, SampleValues
from api.shapes.selection import SelectionParameters
from api.shapes.telemetry_many import TelemetryColumn
from schema.times import Span


@dataclass(frozen=True)
class Joined:
    """Samples with the values of these columns."""

    columns: list[TelemetryColumn]
    samples: list[SampleValues]
    warnings: list[str]


async def joined(database: Database, rows: Sequence[asyncpg.Record], asked: SampleTelemetryParameters) -> Joined:
    """Return these samples with the values of the channels at their times. Raises BadParameter for a channel that no
    device of theirs has sent."""
    if not rows:
        return Joined([], [], [])
    devices = sorted({row["device"] for row in rows})
    instants = [row["taken_at"] for row in rows]
    time = Span(min(instants) - asked.max_age, max(instants) + asked.max_age + timedelta(microseconds=1))
    wanted = SelectionParameters.model_validate({"device": devices, "channel": asked.channel, "unit": asked.unit})
    said = {"from_": time.begin, "to": time.end, "corrections": asked.corrections, "as_of": asked.as_of}
    selected = await selection.resolve(database, wanted.model_copy(update=said))
    table = columns(selected.selections, [None])
    values: dict[int, list[Any]] = {}
    for number, one in enumerate(selected.selections):
        mine = [row for row in rows if row["device"] == one.device.name]
        wish = AtWish([row["taken_at"] for row in mine], asked.max_age, asked.method, Deadline())
        for row, found in zip(mine, await telemetry_at.values(database, one, wish), strict=True):
            values[row["lab_sample_id"]] = table.spread(number, [it.value for it in found])
    nothing: list[Any] = [None] * len(table.columns)
    samples = []
    for row in rows:
        sample = msgspec.structs.asdict(lab_samples.item(row))
        samples.append(SampleValues(**sample, values=values.get(row["lab_sample_id"], nothing)))
    return Joined(table.columns, samples, list(selected.warnings))


def cells(found: Joined) -> tuple[list[str], list[list[Any]]]:
    """Return headings and rows for CSV: a column for each analyte and unit, and for each channel."""
    analytes = list(dict.fromkeys((it.analyte, it.unit) for one in found.samples for it in one.analytes))
    header = ["sample", "device", "run", "taken_at", "location", "status", *(heading(*one) for one in analytes)]
    taken = set(header)
    for one in found.columns:
        name = heading(one.channel, one.unit)
        header.append(f"{name} (telemetry)" if name in taken else name)
    rows: list[list[Any]] = []
    for sample in found.samples:
        measured = {(it.analyte, it.unit): it.reading if it.value is None else it.value for it in sample.analytes}
        said = [sample.sample, sample.device, sample.run, sample.taken_at, sample.location, sample.status]
        rows.append([*said, *(measured.get(it) for it in analytes), *sample.values])
    return header, rows


def heading(name: str, unit: str | None) -> str:
    return name if unit is None else f"{name} [{unit}]"
