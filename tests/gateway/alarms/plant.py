"""Devices, rules and committed frames, as the evaluator finds them in the database; and what it makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from gateway.alarms.evaluator import Evaluator
from gateway.alarms.lead import AlarmLead
from gateway.runtime.database import Troubles, create_pool
from schema.alarms.rules import Rule
from schema.migrate import ALARMS
from tests.gateway.cell import eventually
from tests.gateway.material import settings
from tests.roles import as_role

CommittedFrame = tuple[float, Mapping[str, float | None]]
"""Time in s since 1970, values by channel."""
HIGH: dict[str, Any] = {"kind": "limit", "channel": "x", "level": "high", "limit": 10.0}
RAISED, RETURNED = ("condition", "unacknowledged"), ("return", "returned-unacknowledged")


class Plant:
    def __init__(self, database: asyncpg.Connection) -> None:
        self.database = database
        self._devices: dict[str, int] = {}
        self._layouts: dict[tuple[str, ...], int] = {}

    async def devices(self, *names: str) -> None:
        for name in names:
            self._devices[name] = await self.database.fetchval(
                "insert into devices (name, organization_id) values ($1, 1) returning device_id", name
            )

    async def know(self) -> None:
        """The devices that are there already."""
        self._devices = dict(await self.database.fetch("select name, device_id from devices"))

    async def rule(self, name: str = "high", when: Mapping[str, Any] = HIGH, **more: Any) -> None:
        """Made, or changed."""
        rule = Rule.model_validate({"name": name, "title": name, "when": dict(when), **more})
        definition = rule.model_dump_json(exclude={"name"})
        await self._for_organization()
        await self.database.execute("select api.alarm_rule_put($1, $2, null, 'eva', 'tests')", name, definition)

    async def remove_rule(self, name: str) -> None:
        await self._for_organization()
        await self.database.execute("select api.alarm_rule_remove($1, null, 'eva', 'tests')", name)

    async def act(
        self,
        device: str,
        action: str,
        rule: str = "high",
        until: datetime | None = None,
        *,
        once: bool = False,
        seen: int | None = None,
    ) -> asyncpg.Record:
        """Asks for it and waits for what becomes of it."""
        await self._for_organization()
        act_id = await self.database.fetchval(
            "select api.alarm_act($1, $2, $3, $4, $5, 'eva', 'because', '{}', $6)",
            *(device, rule, action, until, once, seen),
        )
        await eventually(lambda: self._value("select done_at from alarm_acts where act_id = $1", act_id), 15)
        row: asyncpg.Record = await self.database.fetchrow("select * from alarm_acts where act_id = $1", act_id)
        return row

    async def commit(
        self,
        device: str,
        frames: Sequence[CommittedFrame],
        boot: int | None = 1,
        first: int = 0,
        received: float | None = None,
    ) -> None:
        """Frames numbered from `first`, in one transaction, received when they were measured or when it is said."""
        rows = []
        for n, (at, values) in enumerate(frames):
            layout = await self._layout(tuple(sorted(values)))
            seq = None if boot is None else first + n
            numbers = [values[name] for name in sorted(values)]
            came = moment(at if received is None else received + n / 1000)
            rows.append((moment(at), self._devices[device], layout, boot, seq, came, numbers))
        columns = ("time", "device_id", "layout_id", "boot", "seq", "received_at", "values")
        newest = await self._value("select max(time) from frames where device_id = $1", self._devices[device])
        late = [row for row in rows if newest is None or row[0] < newest]
        async with self.database.transaction():
            await self.database.copy_records_to_table("frames", records=rows, columns=columns)
            if late:  # as the gateway notes
                await self.database.execute(
                    """insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time)
                       values ($1, $2, $3, $4, $5, $6)""",
                    *(self._devices[device], min(row[0] for row in late), max(row[0] for row in late)),
                    *(late[0][5], late[-1][5], late[-1][0]),
                )

    async def phase(self, device: str, phase: str | None, at: float) -> None:
        await self.database.execute(
            """insert into device_events (time, device_id, type, data, received_at, digest)
               values ($1, $2, 'phase', $3, $1, sha256($4))""",
            *(moment(at), self._devices[device], json.dumps({"phase": phase}), f"{at}".encode()),
        )

    async def run(self, run: str, device: str, begins: float) -> None:
        await self.database.execute(
            "select run_create(1, $1, $2, $3, '{}', 'eva', 'tests')", run, [self._devices[device]], moment(begins)
        )

    async def confirm(self, run: str, *phases: tuple[str, float, float | None]) -> None:
        """These phases of a run, each with begin and end, and no others."""
        said = [
            {"name": name, "begins": str(moment(begins)), "ends": ends and str(moment(ends)), "origin": "person"}
            for name, begins, ends in phases
        ]
        await self.database.execute("select run_phases_put(1, $1, $2, null, 'eva', 'tests')", run, json.dumps(said))

    # -- what became of it

    async def transitions(self, device: str, rule: str = "high") -> list[tuple[str, str]]:
        """Cause and state after, in order; numbered without holes, and each names the one that announced it last."""
        rows = await self.database.fetch(
            """select t.n, t.cause, t.before, t.after, t.raised_n
                 from alarm_transitions t join alarm_rules r using (rule_id)
                where t.device_id = $1 and r.name = $2 order by t.transition_id""",
            *(self._devices[device], rule),
        )
        assert [row["n"] for row in rows] == list(range(1, len(rows) + 1))
        raised_n = None
        for row in rows:
            raised_n = row["n"] if row["after"] == "unacknowledged" != row["before"] else raised_n
            assert row["raised_n"] == raised_n, [tuple(one) for one in rows]
        return [(row["cause"], row["after"]) for row in rows]

    async def alarm(self, device: str, rule: str = "high") -> asyncpg.Record:
        return await self.database.fetchrow(
            "select a.* from alarms a join alarm_rules r using (rule_id) where a.device_id = $1 and r.name = $2",
            *(self._devices[device], rule),
        )

    async def evaluated_until(self, device: str, at: float) -> bool:
        alarm = "select evaluated_until >= $2 from alarm_devices where device_id = $1"
        return bool(await self._value(alarm, self._devices[device], moment(at)))

    async def becomes(self, device: str, *expected: tuple[str, str], rule: str = "high") -> None:
        """Until exactly these transitions are stored."""

        async def so() -> bool:
            return await self.transitions(device, rule) == list(expected)

        await eventually(so, 20, lambda: self.transitions(device, rule))

    async def _layout(self, channels: tuple[str, ...]) -> int:
        if channels not in self._layouts:
            await self.database.execute(
                "insert into channels (name) select unnest($1::text[]) on conflict do nothing", channels
            )
            numbers = "select array_agg(channel_id order by name) from channels where name = any ($1::text[])"
            await self.database.execute(f"insert into layouts (channel_ids) {numbers} on conflict do nothing", channels)
            self._layouts[channels] = await self.database.fetchval(
                f"select layout_id from layouts where channel_ids = ({numbers})", channels
            )
        return self._layouts[channels]

    async def _for_organization(self) -> None:
        await self.database.execute("select set_config('biogate.organization', '1', false)")

    async def _value(self, query: str, *arguments: object) -> Any:
        return await self.database.fetchval(query, *arguments)


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def now() -> float:
    """A whole second, so that times of frames are exact."""
    return float(int(time.time()))


@contextlib.asynccontextmanager
async def evaluated(database_url: str, **changes: Any) -> AsyncIterator[None]:
    """An evaluator in this process, looking often. It ends at once, as by a kill, when the block does."""
    chosen = settings(as_role(database_url, ALARMS), alarms_interval_ms=20, **changes)
    troubles: Troubles = {}
    async with create_pool(chosen) as pool:
        lead = AlarmLead(chosen, troubles)
        evaluator = Evaluator(chosen, pool, lead, asyncio.Event(), troubles)
        work = (lead.hold(), evaluator.run(asyncio.Event()), evaluator.skipped())
        tasks = [asyncio.create_task(part) for part in work]
        try:
            yield
            assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
