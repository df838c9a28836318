"""`biogate samples import`: takes lab samples from CSV files. For the database's owner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import asyncpg
import msgspec
import typer

from api.admin.console import Organization, organization_id, run
from api.database import SCOPE
from api.files.sample_import import Importer, take
from api.problems import ApiError
from api.shapes.sample_imports import SampleImport, SampleImportOptions
from schema.command_line import commands, plain
from schema.console import Refused, Who, Why

app = commands("Samples of a laboratory: take them from files.")


@app.callback()
def _group() -> None:
    """Samples of a laboratory."""  # without a second command, typer would make this one of `import`


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, help="CSV")],
    *,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="of times without one, such as Europe/Berlin")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="the device of rows that name none")] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="SIGN", help="between cells; else it is found out")] = None,
    decimal: Annotated[str | None, typer.Option(metavar="SIGN", help="'.' or ','; else it is found out")] = None,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="values that differ from those stored become new versions")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="report as a line of JSON for each file")] = False,
    organization: Organization = "main",
    why: Why = "import of samples",
    who: Who,
) -> None:
    """Take samples from CSV files: what is new and what was missing; corrections only if told. Each file in one
    transaction. docs/samples.md has examples."""
    said = {"zone": zone, "device": device, "delimiter": delimiter, "decimal": decimal, "corrections": corrections}
    try:
        options = SampleImportOptions.model_validate(said)
    except ValueError as error:
        raise Refused(f"an option is not usable: {error}") from error
    for path in files:
        what = Importer(path.read_bytes(), options, who, f"{why} ({path.name})", dry_run)

        async def work(connection: asyncpg.Connection, what: Importer = what) -> SampleImport:
            number = await organization_id(connection, organization)
            await connection.execute("set local search_path = api, public")
            await connection.execute(SCOPE, str(number))
            return await take(connection, what)

        try:
            _tell(path, run(work), as_json=as_json)
        except ApiError as error:
            raise Refused(f"{path.name}: {error.detail}") from error


def _tell(path: Path, done: SampleImport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    will = "would be " if done.dry_run else ""
    lines = [
        f"{path.name}: {done.rows} rows, delimiter {done.delimiter!r}, decimal sign {done.decimal!r}",
        *(f"column {one.heading!r}: {one.analyte or one.meaning}, {one.unit or '-'}" for one in done.columns),
        *(
            f"line {one.line}: {one.sample or 'a name is made'}: {one.outcome}: {'; '.join(one.changes)}".rstrip(": ")
            for one in done.samples
        ),
        *(f"refused: line {one.line}, {one.heading!r}: {one.text!r}: {one.reason}" for one in done.refusals),
        f"{done.new} {will}new, {done.measured} {will}measured, {done.corrected} {will}corrected, "
        f"{done.duplicate} duplicate; {done.refused} rows and cells refused",
    ]
    for line in lines:
        typer.echo(plain(line))
