"""Writes files in the form of DASGIP's exports, and reads back what was stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

Import = Callable[..., Awaitable[dict[str, Any]]]
"""Imports a file; the report."""

Samples = set[tuple[str, datetime, str, float | None, int]]
"""(device, time, channel, value, quality)"""

HEAD = """"[Info]"
"Product";"Version";"Host";"Timestamp"
"Archive";"4.0.1";"HOST";2024-03-08 10:51:45

"[CoreInfo]"
"Product";"Version"
"TimezoneBias";-60

"[TrackData]"

"""
TAIL = """"[Events]"
"Timestamp";"Duration";"Event"
2024-03-08 10:00:00; 0;"a text with ; and [TrackData9] in it"

"[End]"
"""


def section(number: int, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The section of a vessel; `{n}` in the headings stands for its number."""
    names = ";".join(f'"{heading.format(n=number)}"' for heading in ("Timestamp", "Duration", *headings))
    lines = [";".join([time, f" {n / 1440:.14E}", *cells]) for n, (time, *cells) in enumerate(rows, 1)]
    return f'"[TrackData{number}]"\n{names}\n' + "".join(f"{line}\n" for line in lines) + "\n"


def dasgip(path: Path, sections: Mapping[int, Sequence[Sequence[str]]], headings: Sequence[str]) -> Path:
    """Write an export with a section for each vessel."""
    parts = [section(number, headings, rows) for number, rows in sections.items()]
    path.write_text(HEAD + "".join(parts) + TAIL, encoding="latin-1")
    return path


async def samples(database: asyncpg.Connection) -> Samples:
    rows = await database.fetch("select device, time, channel, value, quality from telemetry")
    return {tuple(row) for row in rows}
