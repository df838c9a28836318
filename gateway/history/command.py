"""`biogate import FILE…`: takes history in from files."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import typer
from pydantic import AnyUrl

from gateway.errors import LeadLost
from gateway.history.entry import import_file
from gateway.history.errors import UnusableFile
from gateway.history.importer import ImportRequest
from gateway.history.mapping import FileMapping, changed, load_mapping
from gateway.history.report import ImportReport, lines
from gateway.operators.command import Organization
from gateway.runtime.database import check_schema, create_pool
from gateway.settings import Settings
from schema.command_line import plain
from schema.console import Refused, Who, database_errors, settings, words
from schema.errors import Misused

ORGANIZATION = """
select organization_id, name from organizations
 where name = $1::text or ($1::text is null and organization_id = 1)"""

Decimal = Annotated[str | None, typer.Option(metavar="SIGN", help="the decimal sign, '.' or ','; else it is found out")]


def main(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, help="CSV, Parquet or Arrow")
    ],
    *,
    mapping: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="what the headings mean: dasgip, or a YAML file")
    ] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="of local times, such as Europe/Berlin")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="the device; {vessel} stands for the vessel in a heading")
    ] = None,
    device_column: Annotated[str | None, typer.Option(metavar="HEADING", help="the column that names devices")] = None,
    time_column: Annotated[str | None, typer.Option(metavar="HEADING", help="the column of times")] = None,
    date_column: Annotated[
        str | None, typer.Option(metavar="HEADING", help="the column of dates, if these stand apart from the times")
    ] = None,
    time_form: Annotated[
        str | None, typer.Option(metavar="FORM", help="how times are written, such as '%m/%d/%Y %H:%M'")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="SIGN", help="between cells; else it is found out")] = None,
    decimal: Decimal = None,
    encoding: Annotated[str | None, typer.Option(metavar="NAME", help="such as latin-1; else it is found out")] = None,
    create_devices: Annotated[bool, typer.Option("--create-devices", help="create devices that do not exist")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="report as a line of JSON for each file")] = False,
    organization: Organization = None,
    why: Annotated[
        str, typer.Option(parser=words, metavar="TEXT", help="the reason, for the audit trail")
    ] = "import of history",
    who: Who,
) -> None:
    """Store history from files, along the path of messages: checked in the same way, raising no alarm.

    The devices must exist, or be created by --create-devices. Give the same command again after an interruption: it
    goes on where it was, and stores nothing twice. docs/import.md has examples.
    """
    _quiet()
    said = _mapping(
        mapping,
        {
            "zone": zone,
            "time_column": time_column,
            "date_column": date_column,
            "time_form": time_form,
            "device": device,
            "device_column": device_column,
            "delimiter": delimiter,
            "decimal": decimal,
            "encoding": encoding,
        },
    )

    async def work() -> None:
        chosen = settings(Settings, mqtt_url=AnyUrl("mqtts://unused"))
        async with create_pool(chosen, purpose="import") as pool:
            await check_schema(pool)
            row = await pool.fetchrow(ORGANIZATION, organization)
            if row is None:
                raise Refused(f"there is no organization {organization}")
            for path in files:
                owner = row["name"], row["organization_id"]
                request = ImportRequest(path, path.name, said, *owner, who, why, create_devices=create_devices)
                try:
                    report = await import_file(chosen, pool, request, dry_run=dry_run, progress=_progress)
                except (UnusableFile, LeadLost) as error:
                    raise Refused(f"{path.name}: {error}") from error
                _tell(report, as_json=as_json)

    with database_errors():
        asyncio.run(work())


def _mapping(given: str | None, said: dict[str, str | None]) -> FileMapping:
    """The mapping, with what the options say in its place. Raises Misused."""
    try:
        return changed(load_mapping(given), said)
    except UnusableFile as error:
        raise Misused(str(error)) from error


def _progress(frames: int, most: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{frames} of at most {most} frames", err=True, nl=False)


def _tell(report: ImportReport, *, as_json: bool) -> None:
    if sys.stderr.isatty():
        typer.echo("\r", err=True, nl=False)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    for line in lines(report):
        typer.echo(plain(line))


def _quiet() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
