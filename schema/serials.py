"""Imports serials and claim keys from CSV or JSON. All rows are checked before any is stored."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from schema.enrollment import unb64
from schema.errors import BiogateError
from schema.sealed import seal
from schema.topics import is_device_name

COLUMNS = ("serial", "device", "claim_key", "version")
TYPES: Mapping[str, tuple[type, ...]] = {name: (str, type(None)) for name in COLUMNS} | {"version": (int, type(None))}
MOST_ROWS = 100_000
MOST_BYTES = 16 * 2**20
KEY_BYTES = 32
LEAST_VARIETY = 12
"""The least number of different bytes in a claim key. Of 32 random bytes, fewer differ once in 10^15 keys."""
SHOWN = 20

RowProblem = tuple[int, str]
"""A line of a file, or a place in a list counted from 1, and what is wrong there."""


class ImportRefused(BiogateError):
    """Raised when nothing was imported. The text tells people why; it has no key in it."""


class NoVault(ImportRefused):
    """Raised when the database has no public key to seal claim keys to."""


class BadSerialRows(ImportRefused):
    def __init__(self, problems: Iterable[RowProblem]) -> None:
        self.problems = sorted(problems)
        shown = [f"line {line}: {text}" for line, text in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"and {len(self.problems) - SHOWN} more")
        super().__init__("nothing was imported:\n" + "\n".join(shown))


@dataclass(frozen=True, slots=True)
class SerialRow:
    """A controller that may enroll. `key` is stored for version 0; others are derived from a master key."""

    line: int
    serial: str
    device: str
    version: int
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SerialBatch:
    """The batch that rows are imported into. A known name gets more rows."""

    name: str
    quota: int | None = None
    """Number of devices that may enroll with these serials; None: all."""
    organization: str | None = None
    """The organization that will own the devices; None: the first one."""


@dataclass(frozen=True)
class Stored:
    new: int
    known: int
    """Serials that were there already, and were left as they are."""


def from_csv(text: str) -> list[SerialRow]:
    """Read rows from a CSV file whose first line names its columns. Raises ImportRefused."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        lines.extend((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells))
    except csv.Error as error:
        raise BadSerialRows([(reader.line_num, f"not CSV: {error}")]) from error
    if not lines:
        raise ImportRefused("the import is empty")
    [(first, header), *rest] = lines
    if "serial" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise BadSerialRows(
            [(first, f"must name the columns, separated by commas: {', '.join(COLUMNS)}; serial is a must")]
        )
    wrong = [(line, f"{len(cells)} cells, not {len(header)}") for line, cells in rest if len(cells) != len(header)]
    if wrong:
        raise BadSerialRows(wrong)
    return checked((line, dict(zip(header, cells, strict=True))) for line, cells in rest)


def from_items(items: Sequence[object]) -> list[SerialRow]:
    """Read rows from decoded JSON: objects with the columns as members. Raises ImportRefused."""
    given: list[tuple[int, Mapping[str, str]]] = []
    wrong: list[RowProblem] = []
    for line, item in enumerate(items, 1):
        if not isinstance(item, dict) or "serial" not in item or not set(item) <= set(COLUMNS):
            wrong.append((line, f"must be an object with serial, and at most {', '.join(COLUMNS[1:])}"))
        elif not all(type(value) in TYPES[name] for name, value in item.items()):
            wrong.append((line, "version is a whole number, the others are texts"))
        else:
            given.append((line, {name: "" if value is None else str(value) for name, value in item.items()}))
    if wrong:
        raise BadSerialRows(wrong)
    return checked(given)


def checked(given: Iterable[tuple[int, Mapping[str, str]]]) -> list[SerialRow]:
    """Check each row, and that no two contradict each other. Raises ImportRefused."""
    rows: list[SerialRow] = []
    problems: list[RowProblem] = []
    for line, cells in given:
        try:
            rows.append(_row(line, cells))
        except ValueError as error:
            problems.append((line, str(error)))
    seen: dict[tuple[str, str | bytes], int] = {}
    for row in rows:
        mine: list[tuple[str, str | bytes]] = [("serial", row.serial), ("device", row.device)]
        mine += [("claim_key", row.key)] if row.key else []
        same = next((column for column in mine if column in seen), None)
        if same is not None:
            problems.append((row.line, f"the same {same[0]} as in line {seen[same]}"))
        seen |= {column: row.line for column in mine if column not in seen}
    if problems:
        raise BadSerialRows(problems)
    if not 0 < len(rows) <= MOST_ROWS:
        raise ImportRefused(f"{len(rows)} rows: an import has 1 to {MOST_ROWS}")
    return rows


def _row(line: int, cells: Mapping[str, str]) -> SerialRow:
    serial = cells["serial"]
    device = cells.get("device") or serial
    for name, value in (("serial", serial), ("device", device)):
        if not is_device_name(value):
            raise ValueError(
                f"{name} {value[:80]!r}: 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit"
            )
    given = cells.get("claim_key", "")
    key = claim_key(given) if given else None
    number = cells.get("version") or ("0" if key else "1")
    if not (number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) <= 32767):
        raise ValueError("version is a number from 0 to 32767")
    if number == "0" and key is None:
        raise ValueError("version 0 needs a claim key of its own")
    return SerialRow(line, serial, device, int(number), key)


def claim_key(text: str) -> bytes:
    """The 32 bytes of a claim key in hexadecimal or base64url. Raises ValueError, which does not repeat it."""
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else unb64(text.rstrip("="))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"claim_key is {KEY_BYTES} bytes: {2 * KEY_BYTES} hexadecimal digits, or base64url")
    if len(set(key)) < LEAST_VARIETY:
        raise ValueError("claim_key is not random: anybody who knows the serial could guess it")
    return key


async def store(
    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy[asyncpg.Record],
    rows: Sequence[SerialRow],
    batch: SerialBatch,
    *,
    who: str,
    why: str,
) -> Stored:
    """Store all rows or none, in a transaction, with their claim keys sealed. Raises ImportRefused."""
    public: bytes | None = await connection.fetchval("select public_key from vault")
    if public is None and any(row.version == 0 for row in rows):
        raise NoVault("claim keys cannot be sealed: no gateway with BIOGATE_SECRETS_DIR has run on this database")
    sealed = await asyncio.to_thread(lambda: [_sealed(row, public) for row in rows])
    columns = [row.serial for row in rows], [row.device for row in rows], [row.version for row in rows]
    async with connection.transaction():
        outcomes = dict(
            await connection.fetch(
                "select serial, outcome from serials_import($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                *(*columns, sealed, batch.name, batch.quota, who, why, batch.organization),
            )
        )
        known = {
            serial: (device, version)
            for serial, device, version in await connection.fetch(
                "select serial, device, claim_version from serials where serial = any ($1)",
                [serial for serial, outcome in outcomes.items() if outcome == "known"],
            )
        }
        problems = [(row.line, text) for row in rows if (text := _clash(row, outcomes[row.serial], known)) is not None]
        if problems:
            raise BadSerialRows(problems)
    return Stored(len(rows) - len(known), len(known))


def _sealed(row: SerialRow, public: bytes | None) -> bytes | None:
    if row.version != 0 or row.key is None or public is None:
        return None
    return seal(public, row.key, f"serials/{row.serial}")


def _clash(row: SerialRow, outcome: str, known: Mapping[str, tuple[str, int]]) -> str | None:
    if outcome == "name-taken":
        return f"device {row.device} belongs to another serial"
    device, version = known.get(row.serial, (row.device, row.version))
    if (device, version) != (row.device, row.version):
        return f"serial {row.serial} is known already, as device {device} with claim version {version}"
    return None
