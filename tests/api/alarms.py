"""Rules and alarms as they are stored, and somebody who does what is asked for, as the process that evaluates does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg

from schema.alarms import machine
from schema.alarms.machine import Action, Alarm, Condition, NotPossible
from schema.alarms.rules import Definition

LIMIT: dict[str, Any] = {"kind": "limit", "channel": "temperature", "level": "high", "limit": 38.0}
RULE: dict[str, Any] = {"title": "Temperature high", "when": LIMIT}
ACTIVE = Alarm(condition=Condition.ACTIVE, active=True, acknowledged=False)


async def rule(sql: asyncpg.Connection, name: str, organization_id: int = 1, **changes: Any) -> int:
    definition = Definition.model_validate(RULE | changes)
    return int(
        await sql.fetchval(
            "insert into alarm_rules (organization_id, name, definition) values ($1, $2, $3) returning rule_id",
            *(organization_id, name, definition.model_dump_json()),
        )
    )


async def become(
    sql: asyncpg.Connection,
    rule_id: int,
    device_id: int,
    alarm: Alarm = ACTIVE,
    *,
    cause: str = "condition",
    at: datetime | None = None,
    detail: str = "39 above 38",
    by: tuple[str | None, str | None] = (None, None),
) -> int:
    """The alarm comes into that state; the number of the transition among its own. `by`: who, and why."""
    at = at or datetime.now(UTC)
    async with sql.transaction():
        before = await sql.fetchrow("select * from alarms where rule_id = $1 and device_id = $2", rule_id, device_id)
        known_of = before or {"state": "normal", "n": 0, "raised_n": None}
        state, n, raised_n = known_of["state"], known_of["n"] + 1, known_of["raised_n"]
        if alarm.state == "unacknowledged" != state:
            raised_n = n
        known = await sql.fetchrow(
            "select version, priority, organization_id from alarm_rules where rule_id = $1", rule_id
        )
        await sql.execute(
            """insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched,
                                   shelved_until, shelved_once, suppressed, out_of_service, state, priority, since,
                                   raised_at, value, detail, raised_n)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, 39, $16, $17)
               on conflict (rule_id, device_id) do update
               set (n, condition, active, acknowledged, latched, shelved_until, shelved_once, suppressed,
                    out_of_service, state, since, detail, raised_n)
                 = ($3, $5, $6, $7, $8, $9, $10, $11, $12, $13, $15, $16, $17)""",
            *(
                rule_id,
                device_id,
                n,
                known["version"],
                alarm.condition,
                alarm.active,
                alarm.acknowledged,
                alarm.latched,
            ),
            *(alarm.shelved_until, alarm.shelved_once, alarm.suppressed, alarm.out_of_service, alarm.state),
            *(known["priority"], at, detail, raised_n),
        )
        await sql.execute(
            """insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after,
                                              condition, priority, value, detail, who, why, raised_n)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 39, $11, $12, $13, $14)""",
            *(rule_id, device_id, n, known["organization_id"], at, cause),
            *(state, alarm.state, alarm.condition, known["priority"], detail, *by, raised_n),
        )
    return int(n)


@asynccontextmanager
async def evaluator(database_url: str) -> AsyncIterator[None]:
    """While inside, what people ask for is done or refused."""
    sql = await asyncpg.connect(database_url)
    asked = asyncio.Event()
    asked.set()
    await sql.add_listener("biogate_alarm_acts", lambda *_: asked.set())

    async def work() -> None:
        while True:
            await asked.wait()
            asked.clear()
            for act in await sql.fetch("select * from alarm_acts where done_at is null order by act_id"):
                async with sql.transaction():
                    await _do(sql, act)

    task = asyncio.create_task(work())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sql.close()


async def _do(sql: asyncpg.Connection, act: asyncpg.Record) -> None:
    row = await sql.fetchrow(
        "select * from alarms where rule_id = $1 and device_id = $2", act["rule_id"], act["device_id"]
    )
    alarm = Alarm()
    if row is not None:
        names = ("active", "acknowledged", "latched", "shelved_until", "shelved_once", "suppressed", "out_of_service")
        alarm = Alarm(Condition(row["condition"]), **{name: row[name] for name in names})
    try:
        alarm = machine.act(alarm, Action(act["action"]), now=datetime.now(UTC), until=act["until"], once=act["once"])
    except NotPossible as no:
        await sql.execute(
            "update alarm_acts set done_at = now(), refused = $2 where act_id = $1", act["act_id"], str(no)
        )
        return
    n = await become(
        sql, act["rule_id"], act["device_id"], alarm, cause=act["action"], detail="", by=(act["who"], act["why"])
    )
    await sql.execute("update alarm_acts set done_at = now(), n = $2 where act_id = $1", act["act_id"], n)


def file(*rules: dict[str, Any]) -> str:
    """As YAML: JSON is that, too."""
    return json.dumps({"rules": list(rules)})
