"""The examples of docs/import.md do what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import asyncpg

from gateway.history.mapping import parse_mapping, take_apart
from tests.gateway.history.exports import samples

PAGE = (Path(__file__).parents[3] / "docs" / "import.md").read_text()


async def test_the_commands_of_the_page_work(database_url: str, database: asyncpg.Connection, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BIOGATE_DATABASE_URL": database_url, "USER": "eva"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (part.decode() for part in await process.communicate())
    assert process.returncode == 0, err
    assert "3 frames: 3 would be stored, 0 duplicate, 0 would be rejected; 1 cells refused" in out
    assert "refused: row 8, 'Unit 1.pH1.PV [pH]': 'warm': not a number" in out
    assert "2024-10-27 00:59:48Z to 2024-10-27 01:01:48Z" in out, "the doubled hour"
    assert "2 frames: 2 stored, 0 duplicate, 0 rejected; 0 cells refused" in out
    stored = sorted(
        (device, f"{time:%H:%M}", channel, value) for device, time, channel, value, _ in await samples(database)
    )
    assert stored == [
        *(("bench-1", "01:59", "Temp", 36.9), ("bench-1", "01:59", "pH", 7.01), ("bench-1", "02:00", "Temp", 37.1)),
        *(("dasgip-1", "00:59", "exhaust_o2", 20.52), ("dasgip-1", "00:59", "ph", 7.012)),
        *(("dasgip-1", "00:59", "temperature", 36.9), ("dasgip-1", "01:00", "ph", 7.008)),
        ("dasgip-1", "01:01", "exhaust_o2", 20.4),
    ]


def test_the_mapping_of_the_page_is_one() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    mapping = parse_mapping(text.encode())
    heading = take_apart("Reaktor 3 Temp [°C]", mapping.patterns)
    assert heading is not None
    assert (heading.name, heading.vessel, heading.unit) == ("Temp", "3", "°C")
