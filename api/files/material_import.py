"""Takes records of material from a file: what is new, what differs, and what cannot be stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from api.files.material_table import ReadMaterial, read_material
from api.files.sample_import import AHEAD, Connected, Importer
from api.problems import BadParameter
from api.queries import lab_samples
from api.queries import materials as queries
from api.queries.materials import MaterialVersion
from api.shapes.material_imports import ImportedMaterial, MaterialImport, MaterialOutcome
from api.shapes.materials import Material, NewMaterial
from api.shapes.sample_imports import MOST_SAMPLES, MOST_TOLD, RefusedRow
from schema import times

COMPARED = ("lot", "quantity", "unit", "ends", "note")
"""What may differ between a row and the record of the same device, begin, kind and material."""
Key: TypeAlias = tuple[str, str, str, str]


@dataclass
class MaterialPlan:
    """What is to be stored of a table of material."""

    versions: list[MaterialVersion] = field(default_factory=list)
    told: list[ImportedMaterial] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)

    def refuse(self, line: int, heading: str, text: str, reason: str) -> None:
        self.refused.append(RefusedRow(line, heading, text, reason))


async def take_material(connection: Connected, what: Importer) -> MaterialImport:
    """Store what a file has, in a transaction that the caller has begun; a dry run only reads. Raises BadParameter."""
    table = read_material(what.content, what.options)
    if len(table.records) > MOST_SAMPLES:
        raise BadParameter("body", f"has more than {MOST_SAMPLES} records: split the file")
    plan = await _plan(connection, table.records, what)
    if not what.dry_run:
        for version in plan.versions:
            await queries.put(connection, version)
    refused = sorted([*table.refused, *plan.refused], key=lambda one: one.line)
    counts: dict[MaterialOutcome, int] = {"new": 0, "corrected": 0, "duplicate": 0}
    for one in plan.told:
        counts[one.outcome] += 1
    return MaterialImport(
        dry_run=what.dry_run,
        delimiter=table.delimiter,
        decimal=table.decimal,
        rows=table.rows,
        columns=table.columns,
        **counts,
        refused=len(refused),
        refusals=refused[:MOST_TOLD],
        records=plan.told[:MOST_TOLD],
    )


async def _plan(connection: Connected, records: list[ReadMaterial], what: Importer) -> MaterialPlan:
    devices = {one.record.device for one in records}
    known = {row["name"] for row in await connection.fetch(lab_samples.SQL["devices"], list(devices))}
    stored: dict[Key, list[Material]] = defaultdict(list)
    begun = [one.record.begins for one in records]
    for row in await connection.fetch(queries.SQL["begun"], list(devices), begun):
        one = queries.item(row)
        stored[one.device, one.begins, one.kind, one.material].append(one)
    plan, lines = MaterialPlan(), dict[Key, int]()
    latest = datetime.now(UTC) + AHEAD
    for read in records:
        record = read.record
        key = record.device, times.text(record.begins), record.kind, record.material
        earlier = lines.setdefault(key, read.line)
        if record.device not in known:
            plan.refuse(read.line, "device", record.device, f"there is no device {record.device}")
        elif record.begins > latest:
            plan.refuse(read.line, "begins", key[1], "material goes in or out now or in the past")
        elif earlier != read.line:
            plan.refuse(read.line, "", "", f"line {earlier} has the same device, begin, kind and material")
        else:
            _take(plan, read, stored.get(key, []), what)
    return plan


def _take(plan: MaterialPlan, read: ReadMaterial, stored: list[Material], what: Importer) -> None:
    holding = [one for one in stored if not one.withdrawn]
    if stored and not holding:
        plan.refuse(read.line, "", "", f"record {stored[0].number} of it was withdrawn")
        return
    same = next((one for one in holding if not _differences(read, one)), None)
    if same is not None or not holding:
        _tell(plan, read, same, "duplicate" if same else "new", [])
        if same is None:
            said = read.record.model_dump(exclude={"device", "why"})
            by = what.who, what.why
            plan.versions.append(MaterialVersion(read.record.device, None, 0, "add", said, "import", *by))
        return
    was = holding[0]
    changes = [f"{name} {before} → {now}" for name, (before, now) in _differences(read, was).items()]
    if len(holding) > 1:
        plan.refuse(read.line, "", "", f"{len(holding)} records of it are stored: correct the right one by hand")
    elif not what.options.corrections:
        plan.refuse(read.line, "", "", f"differs from record {was.number}: {'; '.join(changes)}")
    else:
        new = {name: getattr(read.record, name) for name in _differences(read, was)}
        said = queries.said(was) | new
        plan.versions.append(
            MaterialVersion(was.device, was.number, was.version, "correct", said, "import", what.who, what.why)
        )
        _tell(plan, read, was, "corrected", changes)


def _tell(
    plan: MaterialPlan, read: ReadMaterial, was: Material | None, outcome: MaterialOutcome, changes: list[str]
) -> None:
    one, number = read.record, None if was is None else was.number
    plan.told.append(ImportedMaterial(read.line, number, one.device, one.kind, one.material, outcome, changes))


def _differences(read: ReadMaterial, was: Material) -> dict[str, tuple[Any, Any]]:
    """Return what the row says otherwise; an empty cell says nothing."""
    new = _texts(read.record)
    found = {name: (getattr(was, name), new[name]) for name in COMPARED if name in read.given or name == "unit"}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _texts(record: NewMaterial) -> dict[str, Any]:
    ends = None if record.ends is None else times.text(record.ends)
    return record.model_dump() | {"ends": ends}
