"""Takes lab samples from a file: what is new, what is missing, what differs, and what cannot be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg

from api.database import Connection
from api.files.lab_table import LabTable, ReadAnalyte, ReadSample, read_table
from api.problems import BadParameter
from api.queries import lab_samples as queries
from api.queries.lab_samples import Version
from api.shapes.lab_samples import Analyte, LabSample, NewAnalyte, NewSample, SampleChange
from api.shapes.sample_imports import (
    MOST_SAMPLES,
    MOST_TOLD,
    ImportedSample,
    ImportOptions,
    Outcome,
    RefusedRow,
    SampleImport,
)
from schema import times

AHEAD = timedelta(minutes=1)
"""How far the clock of who took a sample may be ahead."""

Connected: TypeAlias = "Connection | asyncpg.Connection"


@dataclass(frozen=True)
class Importer:
    """Who imports what, and whether it is only asked what would become of it."""

    content: bytes
    options: ImportOptions
    who: str
    why: str
    dry_run: bool = False


@dataclass
class Plan:
    """What is to be stored of a table."""

    versions: list[Version] = field(default_factory=list)
    told: list[ImportedSample] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)

    def refuse(self, sample: ReadSample, heading: str, text: str, reason: str) -> None:
        self.refused.append(RefusedRow(sample.line, heading, text, reason))


async def take(connection: Connected, what: Importer) -> SampleImport:
    """Store what a file has, in a transaction that the caller has begun; a dry run only reads. Raises BadParameter."""
    table = read_table(what.content, what.options)
    if len(table.samples) > MOST_SAMPLES:
        raise BadParameter("body", f"has more than {MOST_SAMPLES} samples: split the file")
    plan = await _plan(connection, table, what)
    if not what.dry_run:
        for version in plan.versions:
            await queries.put(connection, version)
    refused = sorted([*table.refused, *plan.refused], key=lambda one: one.line)
    counts: dict[Outcome, int] = {"new": 0, "measured": 0, "corrected": 0, "duplicate": 0}
    for one in plan.told:
        counts[one.outcome] += 1
    return SampleImport(
        dry_run=what.dry_run,
        delimiter=table.delimiter,
        decimal=table.decimal,
        rows=table.rows,
        columns=table.columns,
        **counts,
        refused=len(refused),
        refusals=refused[:MOST_TOLD],
        samples=plan.told[:MOST_TOLD],
    )


async def _plan(connection: Connected, table: LabTable, what: Importer) -> Plan:
    names = [one.sample for one in table.samples if one.sample is not None]
    rows = await connection.fetch(queries.SQL["some"], names)
    unnamed = [one for one in table.samples if one.sample is None]
    rows += await connection.fetch(
        queries.SQL["taken"], [one.device for one in unnamed], [one.taken_at for one in unnamed]
    )
    stored = [queries.item(row) for row in rows]
    by_name = {one.sample: one for one in stored}
    by_time = {(one.device, one.taken_at): one for one in stored}
    devices = {one.device for one in table.samples if one.device is not None}
    known = {row["name"] for row in await connection.fetch(queries.SQL["devices"], list(devices))}
    plan = Plan()
    for sample in table.samples:
        at = None if sample.taken_at is None else times.text(sample.taken_at)
        was = by_name.get(sample.sample) if sample.sample else by_time.get((sample.device or "", at or ""))
        if sample.device is not None and sample.device not in known:
            plan.refuse(sample, "device", sample.device, f"there is no device {sample.device}")
        elif sample.taken_at is not None and sample.taken_at > datetime.now(UTC) + AHEAD:
            plan.refuse(sample, "time", times.text(sample.taken_at), "a sample is taken now or in the past")
        elif was is None:
            _take_new(plan, sample, what)
        else:
            _take_known(plan, sample, was, what)
    return plan


def _take_new(plan: Plan, sample: ReadSample, what: Importer) -> None:
    if sample.taken_at is None or sample.device is None:
        missing = "time" if sample.taken_at is None else "device"
        plan.refuse(sample, missing, "", f"a new sample needs a {missing}")
        return
    given = NewSample.model_construct(
        sample=sample.sample,
        device=sample.device,
        taken_at=sample.taken_at,
        location=None if sample.location is None else sample.location[:200],
        note=sample.note,
        analytes=_analytes(sample.analytes),
    )
    plan.versions.append(queries.first_version(given, "import", what.who, what.why))
    plan.told.append(ImportedSample(sample.line, sample.sample, sample.device, "new", []))


def _take_known(plan: Plan, sample: ReadSample, was: LabSample, what: Importer) -> None:
    """Tell a duplicate from values that were missing, and these from a correction."""
    if was.withdrawn:
        plan.refuse(sample, "sample", was.sample, "the sample was withdrawn")
        return
    before = {one.analyte: one for one in was.analytes}
    more = {name: one for name, one in sample.analytes.items() if _is_missing(one, before.get(name))}
    other = {name: one for name, one in sample.analytes.items() if name not in more and _differs(one, before[name])}
    changes = [_in_words(name, before[name], one) for name, one in other.items()]
    fields: dict[str, Any] = {}
    if sample.device is not None and sample.device != was.device:
        fields["device"] = sample.device
        changes.append(f"device {was.device} → {sample.device}")
    if sample.taken_at is not None and times.text(sample.taken_at) != was.taken_at:
        fields["taken_at"] = sample.taken_at
        changes.append(f"time {was.taken_at} → {times.text(sample.taken_at)}")
    if changes and not what.options.corrections:
        plan.refuse(sample, "sample", was.sample, f"differs from what is stored: {'; '.join(changes)}")
        return
    outcome: Outcome = "corrected" if changes else "measured" if more else "duplicate"
    plan.told.append(ImportedSample(sample.line, was.sample, sample.device or was.device, outcome, changes))
    if outcome != "duplicate":
        given = SampleChange.model_construct(
            _fields_set=set(fields) | {"analytes", "why"},
            **{"device": None, "taken_at": None, "without": [], **fields},
            analytes=_analytes(more | other),
            why=what.why,
        )
        plan.versions.append(queries.changed(was, given, what.who, "import"))


def _is_missing(new: ReadAnalyte, was: Analyte | None) -> bool:
    return was is None or (was.status == "taken" and new.value is not None)


def _differs(new: ReadAnalyte, was: Analyte) -> bool:
    if new.value is None:
        return False
    if new.unit is not None and was.unit is not None and new.unit != was.unit:
        return True
    return new.value != (was.value if was.value is not None else was.reading)


def _in_words(name: str, was: Analyte, new: ReadAnalyte) -> str:
    value = was.value if was.value is not None else was.reading
    return f"{name} {value} {was.unit or ''} → {new.value} {new.unit or was.unit or ''}".replace("  ", " ").rstrip()


def _analytes(found: Mapping[str, ReadAnalyte]) -> list[NewAnalyte]:
    return [
        NewAnalyte.model_construct(
            _fields_set={"analyte", "value"},
            analyte=name,
            value=one.value,
            unit=one.unit,
            method=None if one.method is None else one.method[:100],
            measured_at=one.measured_at,
        )
        for name, one in found.items()
    ]
