"""`biogate exports verify`: whether a file is the one that its manifest tells of. It needs no database."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow as pa
import pyarrow.parquet
import typer

from api.shapes.exports import Manifest
from schema.command_line import commands
from schema.console import Refused, tell
from schema.errors import Misused

app = commands("Exports: files with telemetry.")
BLOCK = 2**20
ExistingFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE", help="file of an export")]
ManifestFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, metavar="MANIFEST", help="its manifest, as JSON")
]


@app.callback()
def _group() -> None:
    """Exports: files with telemetry."""  # without a second command, typer would make this one of `verify`


@app.command()
def verify(file: ExistingFile, manifest: ManifestFile) -> None:
    """Hold a file against its manifest: size, hash, rows and columns."""
    try:
        said = msgspec.json.decode(manifest.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise Misused(f"{manifest} is no manifest: {error}") from error
    if said.file is None or said.rows is None:
        raise Misused(f"{manifest} tells of no file")
    _check(file, "bytes", file.stat().st_size, said.file.bytes)
    _check(file, "SHA-256", _hash(file), said.file.sha256)
    _check(file, "rows and columns", table_size(file, said), (said.rows, len(said.columns)))
    tell(f"{file} is as {manifest} says: {said.rows} rows, {len(said.columns)} columns")


def _check(file: Path, what: str, found: object, said: object) -> None:
    if found != said:
        raise Refused(f"{file} is not the file of the manifest: {what} {found}, and not {said}")


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def table_size(file: Path, said: Manifest) -> tuple[int, int]:
    """Rows and columns of the table in a file, read a part at a time. Raises Refused if it is no such table."""
    try:
        if said.format == "parquet":
            about = pyarrow.parquet.ParquetFile(file).metadata
            return about.num_rows, about.num_columns
        if said.format == "csv":  # pyarrow reads CSV in threads, which may abort the process at its end
            with file.open(newline="", encoding="utf-8") as text:
                rows = csv.reader(text)
                columns = len(next(rows, []))
                return sum(1 for _ in rows), columns
        with file.open("rb") as content:
            reader = pa.ipc.open_stream(content)
            return sum(batch.num_rows for batch in reader), len(reader.schema)
    except (pa.ArrowInvalid, OSError, ValueError, csv.Error) as error:
        raise Refused(f"{file} cannot be read as {said.format}: {error}") from error
