"""The alarm list with the process that evaluates alarms: an occurrence that nobody has seen is not acknowledged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from api.access.roles import Role
from tests.api import alarms
from tests.api.pages.conftest import visiting
from tests.api.pages.forms import Fields, forms
from tests.api.plant import Plant
from tests.conftest import Broker
from tests.processes import AlarmsProcess


async def test_an_alarm_that_was_raised_again_is_not_acknowledged_unseen(
    plant: Plant, database_url: str, broker: Broker, tmp_path: Path
) -> None:
    await alarms.rule(plant.sql, "hot")
    device = await plant.device("br-1")
    layout = await plant.layout(device, "temperature")

    async def comes(value: float, state: str) -> None:
        """The device sends that value until the alarm is in that state."""
        async with asyncio.timeout(60):
            while await plant.sql.fetchval("select state from alarms") != state:
                await plant.frames(device, layout, [(datetime.now(UTC), [value], None)])
                await asyncio.sleep(0.1)

    process = AlarmsProcess(database_url, broker.url, tmp_path / "log")
    process.start()
    try:
        async with visiting(database_url, plant.sql, "oscar@example.org", Role.OPERATOR, api_act_patience=60) as it:

            async def shown() -> Fields:
                fields = forms(await it.shown("alarms"), "alarms/acts")[0]
                assert fields["action"] == ["acknowledge"]
                return fields | {"why": "seen"}

            await comes(39, "unacknowledged")
            first = await shown()
            await comes(37, "returned-unacknowledged")
            await comes(39, "unacknowledged")
            late = await it.post("alarms/acts", htmx=True, **first)
            assert (late.status_code, "raised again" in late.text) == (409, True), late.text
            assert await plant.sql.fetchval("select state from alarms") == "unacknowledged"
            assert (await it.post("alarms/acts", htmx=True, **await shown())).status_code == 204
            assert await plant.sql.fetchval("select state from alarms") == "acknowledged"
    finally:
        process.kill()
