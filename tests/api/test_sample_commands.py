"""`biogate samples` takes samples and records of material from files, with the rights that commands have."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg
import pytest

from schema.migrate import OPERATOR
from tests.api.plant import Plant
from tests.forked import Talking
from tests.roles import as_role

FILES = {
    "import": ("sample;device;time;glucose [g/L]\r\nS-7;br-1;2026-03-01 08:45;4,2\r\n", "lab_samples"),
    "import-material": (
        "device;time;kind;material;quantity [mL]\r\nbr-1;2026-03-01 08:45;feed;glucose 500 g/L;120\r\n",
        "materials",
    ),
}


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_tried_taken_once_and_known_again(
    plant: Plant, database: asyncpg.Connection, database_url: str, tmp_path: Path, name: str
) -> None:
    await plant.device("br-1")
    content, table = FILES[name]
    file = tmp_path / "monday.csv"
    file.write_bytes(content.encode())
    environment = os.environ | {"BIOGATE_DATABASE_URL": as_role(database_url, OPERATOR)}

    async def counts(*options: str) -> tuple[str, int]:
        words = ("samples", name, str(file), "--zone", "UTC", "--who", "eva", "--why", "HPLC of Monday", *options)
        child = Talking("deploy.command", *words, environment=environment)
        said = child.finish()
        assert child.wait() == 0, said
        return said.splitlines()[-1].partition(",")[0], await database.fetchval(f"select count(*) from {table}")

    assert await counts("--dry-run") == ("1 would be new", 0)
    assert await counts() == ("1 new", 1)
    assert await counts() == ("0 new", 1)
    assert await database.fetchrow(f"select who, why from {table}") == ("eva", "HPLC of Monday (monday.csv)")
