"""The examples of docs/samples.md do what the page says."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import sys
from pathlib import Path

from tests.api.accounts import api_key
from tests.api.live import listening
from tests.api.plant import Plant, at

PAGE = (Path(__file__).parents[2] / "docs" / "samples.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


async def test_the_commands_of_the_page_work(database_url: str, plant: Plant, tmp_path: Path) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "ph", "feed_a_total")
    await plant.frames(device, layout, [(at(n), [7.0, n / 36], None) for n in range(0, 3601, 60)])
    (tmp_path / "key.header").write_text(f"Authorization: Bearer {await api_key(plant.sql)}\n")
    async with listening(database_url) as (address, _):
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BIOGATE_DATABASE_URL": database_url,
            "BIOGATE_API_URL": f"http://{address}",
            "BIOGATE_API_KEY_FILE": str(tmp_path / "key"),
            "USER": "eva",
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", "set -euo pipefail\n" + "\necho; echo '#'\n".join(BLOCKS)),
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = (part.decode() for part in await process.communicate())
    assert process.returncode == 0, err + out
    acts, dry, done, joined, balance, additions = out.split("\n#\n")
    assert acts.count('"sample":"S-7"') == 3
    assert "line 2: S-8: new" in dry
    assert "refused: line 3, 'glucose': '3.6': neither a number nor a reading" in dry
    assert "refused: line 4, 'sample': 'S-7': differs from what is stored: glucose 4.2 g/L → 4.6 g/L" in dry
    assert "2 would be new, 0 would be measured, 0 would be corrected, 0 duplicate; 2 rows and cells refused" in dry
    assert "2 new, 0 measured, 1 corrected, 0 duplicate; 1 rows and cells refused" in done
    rows = {row["sample"]: row for row in csv.DictReader(io.StringIO(joined))}
    assert (rows["S-7"]["glucose [g/L]"], rows["S-7"]["ph [pH]"], rows["S-7"]["status"]) == ("4.6", "7.0", "measured")
    said = json.loads(balance[balance.index('}{"device"') + 1 :])
    assert (said["sums"][0]["mass"], said["feeds"][0]["recorded"]) == (0.12, 0.12)
    assert (said["residue"], said["feeds"][0]["weighed"]) == (None, None)
    assert "line 3: base NaOH 2 M: new" in additions
    assert "2 would be new, 0 would be corrected, 0 duplicate; 0 rows and cells refused" in additions
    versions = await plant.sql.fetch(
        "select act, who, why, source from lab_samples where sample = 'S-7' order by version"
    )
    assert [row["act"] for row in versions] == ["take", "measure", "approve", "correct"]
    assert tuple(versions[3])[1:] == ("eva", "dilution was 1:11 (monday.csv)", "import")


def test_the_page_names_each_kind_and_each_outcome() -> None:
    for word in ("inoculum", "medium", "feed", "base", "acid", "antifoam", "additive"):
        assert f"`{word}`" in PAGE, word
    for word in ("sampling", "harvest", "bleed", "waste"):
        assert f"`{word}`" in PAGE, word
