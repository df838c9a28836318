"""`biogate samples`: takes lab samples, or records of material, from CSV files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import asyncpg
import msgspec
import typer

from api.admin.console import Organization, organization_id, run
from api.database import SCOPE
from api.files.material_import import take_material
from api.files.sample_import import Importer, take
from api.problems import ApiError
from api.shapes.material_imports import MaterialImport
from api.shapes.sample_imports import ImportOptions, SampleImport
from schema.command_line import commands, plain
from schema.console import Refused, Who, Why

Taken = TypeVar("Taken", SampleImport, MaterialImport)
app = commands("Samples of a laboratory, and material: take them from files.")

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, help="CSV")]
Zone = Annotated[str | None, typer.Option(metavar="ZONE", help="of times without one, such as Europe/Berlin")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="the device of rows that name none")]
Delimiter = Annotated[str | None, typer.Option(metavar="SIGN", help="between cells; else it is found out")]
Sign = Annotated[str | None, typer.Option(metavar="SIGN", help="'.' or ','; else it is found out")]
Corrections = Annotated[
    bool, typer.Option("--corrections", help="values that differ from those stored become new versions")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]
AsJson = Annotated[bool, typer.Option("--json", help="report as a line of JSON for each file")]


@app.command("import")
def import_(
    files: Files,
    *,
    zone: Zone = None,
    device: Device = None,
    delimiter: Delimiter = None,
    decimal: Sign = None,
    corrections: Corrections = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    organization: Organization = "main",
    why: Why = "import of samples",
    who: Who,
) -> None:
    """Take samples from CSV files: what is new and what was missing; corrections only if told. Each file in one
    transaction. docs/samples.md has examples."""
    said = {"zone": zone, "device": device, "delimiter": delimiter, "decimal": decimal, "corrections": corrections}
    for path in files:
        _tell(path, _taken(path, said, (who, why, dry_run), organization, take), as_json=as_json)


@app.command("import-material")
def import_material(
    files: Files,
    *,
    zone: Zone = None,
    device: Device = None,
    delimiter: Delimiter = None,
    decimal: Sign = None,
    corrections: Corrections = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    organization: Organization = "main",
    why: Why = "import of material",
    who: Who,
) -> None:
    """Take records of material from CSV files: what is new; corrections only if told. Each file in one transaction.
    docs/samples.md has examples."""
    said = {"zone": zone, "device": device, "delimiter": delimiter, "decimal": decimal, "corrections": corrections}
    for path in files:
        _tell(path, _taken(path, said, (who, why, dry_run), organization, take_material), as_json=as_json)


def _taken(
    path: Path,
    said: dict[str, str | bool | None],
    by: tuple[str, str, bool],
    organization: str,
    take_file: Callable[[asyncpg.Connection, Importer], Awaitable[Taken]],
) -> Taken:
    """Take one file. `by`: who, why, and whether it is a dry run. Raises Refused."""
    try:
        options = ImportOptions.model_validate(said)
    except ValueError as error:
        raise Refused(f"an option is not usable: {error}") from error
    who, why, dry_run = by
    what = Importer(path.read_bytes(), options, who, f"{why} ({path.name})", dry_run)

    async def work(connection: asyncpg.Connection) -> Taken:
        number = await organization_id(connection, organization)
        await connection.execute("set local search_path = api, public")
        await connection.execute(SCOPE, str(number))
        return await take_file(connection, what)

    try:
        return run(work)
    except ApiError as error:
        raise Refused(f"{path.name}: {error.detail}") from error


def _tell(path: Path, done: SampleImport | MaterialImport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    will = "would be " if done.dry_run else ""
    if isinstance(done, SampleImport):
        columns = [(one.heading, one.analyte or one.meaning, one.unit) for one in done.columns]
        told = [(one.line, one.sample or "a name is made", one.outcome, one.changes) for one in done.samples]
        measured = f" {done.measured} {will}measured,"
    else:
        columns = [(one.heading, one.meaning, one.unit) for one in done.columns]
        told = [(one.line, f"{one.kind} {one.material}", one.outcome, one.changes) for one in done.records]
        measured = ""
    lines = [
        f"{path.name}: {done.rows} rows, delimiter {done.delimiter!r}, decimal sign {done.decimal!r}",
        *(f"column {heading!r}: {meaning}, {unit or '-'}" for heading, meaning, unit in columns),
        *(f"line {line}: {it}: {outcome}: {'; '.join(changes)}".rstrip(": ") for line, it, outcome, changes in told),
        *(f"refused: line {one.line}, {one.heading!r}: {one.text!r}: {one.reason}" for one in done.refusals),
        f"{done.new} {will}new,{measured} {done.corrected} {will}corrected, "
        f"{done.duplicate} duplicate; {done.refused} rows and cells refused",
    ]
    for line in lines:
        typer.echo(plain(line))
