"""Stores alarms, transitions, memories of devices and outcomes of acts: one transaction a turn, which locks the lead's
epoch, so that nobody takes the lead meanwhile."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from gateway.alarms.watch import DeviceWatch, Standing
from gateway.errors import LeadLost
from gateway.runtime.database import Pool, PoolConnection
from schema.alarms.intake import Intakes
from schema.alarms.machine import Alarm, Condition
from schema.alarms.phases import ConfirmedPhase

EPOCH = "select epoch from alarm_lead for share"
NOW = """
select clock_timestamp() as now, (select epoch from alarm_lead) as epoch,
       exists (select from alarm_acts where done_at is null) as asked"""
RULES = """
select rule_id, organization_id, name, version, definition from alarm_rules
 where removed_at is null and enabled order by rule_id"""
DEVICES = """
select d.device_id, d.name, d.organization_id, d.tags, d.state, c.cell
  from devices d
  left join lateral (select cell from credentials c where c.device_id = d.device_id
                      order by generation desc limit 1) c on true"""
CONFIRMED = """
select m.device_id, p.name, p.begins, coalesce(p.ends, m.ends) as ends, p.ends is null as is_open, p.confirmed_at
  from run_devices m
  join devices d on d.device_id = m.device_id and d.organization_id = m.organization_id
  join run_phases p using (run_id)
 where m.begins is not null and (m.ends is null or m.ends > $1)
 order by m.device_id, p.begins"""
INTAKES = "select cell, settled_until, well_since, beat_at from intake_beats"
MEMORIES = "select device_id, memory from alarm_devices where device_id = any ($1::int[])"
STANDING = """
select a.*, r.organization_id from alarms a join alarm_rules r using (rule_id)
 where a.device_id = any ($1::int[])"""
WITH_ALARMS = "select distinct device_id from alarms where removed_at is null"
ACTS = """
select act_id, rule_id, device_id, organization_id, action, until, once, who, why, seen_n from alarm_acts
 where done_at is null order by act_id limit $1"""

PUT_ALARMS = """
insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched, shelved_until,
                    shelved_once, suppressed, out_of_service, state, priority, since, raised_at, raised_n, value,
                    detail, removed_at, not_evaluated)
select * from unnest($1::int[], $2::int[], $3::bigint[], $4::int[], $5::text[], $6::bool[], $7::bool[], $8::bool[],
                     $9::timestamptz[], $10::bool[], $11::bool[], $12::bool[], $13::text[], $14::text[],
                     $15::timestamptz[], $16::timestamptz[], $17::bigint[], $18::float8[], $19::text[],
                     $20::timestamptz[], $21::text[])
on conflict (rule_id, device_id) do update
   set n = excluded.n, rule_version = excluded.rule_version, condition = excluded.condition, active = excluded.active,
       acknowledged = excluded.acknowledged, latched = excluded.latched, shelved_until = excluded.shelved_until,
       shelved_once = excluded.shelved_once, suppressed = excluded.suppressed,
       out_of_service = excluded.out_of_service, state = excluded.state, priority = excluded.priority,
       since = excluded.since, raised_at = excluded.raised_at, raised_n = excluded.raised_n, value = excluded.value,
       detail = excluded.detail, removed_at = excluded.removed_at, not_evaluated = excluded.not_evaluated"""
ADD_TRANSITIONS = """
insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after, condition, priority,
                               value, detail, who, why, raised_n)
select rule_id, device_id, n, organization_id, at, cause, before, after, condition, priority, value, detail, who, why,
       raised_n
  from unnest($1::int[], $2::int[], $3::bigint[], $4::int[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::float8[], $12::text[], $13::text[], $14::text[], $15::bigint[])
       with ordinality
       as g (rule_id, device_id, n, organization_id, at, cause, before, after, condition, priority, value, detail, who,
             why, raised_n, number)
 order by number"""
PUT_MEMORIES = """
insert into alarm_devices (device_id, evaluated_until, received_until, set_back_at, numbers_back_at, memory)
select * from unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::jsonb[])
on conflict (device_id) do update
   set evaluated_until = excluded.evaluated_until, received_until = excluded.received_until,
       set_back_at = excluded.set_back_at, numbers_back_at = excluded.numbers_back_at, memory = excluded.memory"""
DEFECT = """
update alarms set not_evaluated = 'their evaluation failed by a defect, which is in the log of the process'
 where device_id = any ($1::int[]) and removed_at is null and $2 = (select epoch from alarm_lead)"""
BEAT = """
insert into alarm_beat (at) select clock_timestamp() from alarm_lead where epoch = $1
    on conflict (only_one) do update set at = excluded.at"""
FORGET = "delete from alarm_devices where device_id = any ($1::int[])"
PUT_OUTCOMES = """
update alarm_acts a set done_at = clock_timestamp(), refused = g.refused, n = g.n
  from unnest($1::bigint[], $2::text[], $3::bigint[]) as g (act_id, refused, n)
 where a.act_id = g.act_id and a.done_at is null"""


class ActOutcome(NamedTuple):
    """The outcome of an act: the number of the transition it became, or why it was refused."""

    act_id: int
    refused: str | None
    n: int | None


class Moment(NamedTuple):
    now: datetime
    asked: bool
    """Whether an act of a person is waiting."""


class AlarmStore:
    def __init__(self, pool: Pool, epoch: int) -> None:
        self._pool = pool
        self.epoch = epoch

    async def now(self) -> Moment:
        """The database's clock, and whether acts wait. Raises LeadLost."""
        now, epoch, asked = await self._pool.fetchrow(NOW)
        self._check(epoch)
        return Moment(now, asked)

    async def rules(self) -> list[asyncpg.Record]:
        """Rows of the enabled rules."""
        return list(await self._pool.fetch(RULES))

    async def devices(self) -> list[asyncpg.Record]:
        return list(await self._pool.fetch(DEVICES))

    async def confirmed(self, since: datetime) -> dict[int, list[ConfirmedPhase]]:
        """The phases that people confirmed on runs that last or have ended after `since`, by device_id."""
        found: defaultdict[int, list[ConfirmedPhase]] = defaultdict(list)
        for device_id, name, begins, ends, is_open, at in await self._pool.fetch(CONFIRMED, since):
            end = None if ends is None else ends.timestamp()
            found[device_id].append(ConfirmedPhase(name, begins.timestamp(), end, is_open, at.timestamp()))
        return found

    async def intakes(self, now: float) -> Intakes:
        rows = await self._pool.fetch(INTAKES)
        return Intakes({cell: tuple(at.timestamp() for at in times) for cell, *times in rows}, now)

    async def with_alarms(self) -> set[int]:
        return {device_id for (device_id,) in await self._pool.fetch(WITH_ALARMS)}

    async def remembered(self, device_ids: Sequence[int]) -> dict[int, tuple[dict[str, Any], list[Standing]]]:
        """The memory and the alarms of each device, by device_id."""
        found: dict[int, tuple[dict[str, Any], list[Standing]]] = {device_id: ({}, []) for device_id in device_ids}
        for device_id, memory in await self._pool.fetch(MEMORIES, device_ids):
            found[device_id][0].update(json.loads(memory))
        for row in await self._pool.fetch(STANDING, device_ids):
            found[row["device_id"]][1].append(_standing(row))
        return found

    async def acts(self, most: int) -> list[asyncpg.Record]:
        return list(await self._pool.fetch(ACTS, most))

    async def beat(self) -> None:
        """Note that alarms are evaluated now."""
        await self._pool.execute(BEAT, self.epoch)

    async def defective(self, device_ids: Sequence[int]) -> None:
        """Note that the alarms of these devices are not evaluated, because of a defect."""
        await self._pool.execute(DEFECT, device_ids, self.epoch)

    async def write(self, watches: Sequence[DeviceWatch], outcomes: Sequence[ActOutcome] = ()) -> None:
        """Store what `watches` have made and remember, and outcomes of acts, in one transaction. Raises LeadLost."""
        watches = sorted(watches, key=lambda watch: watch.device.device_id)
        async with self._pool.acquire() as connection, connection.transaction():
            self._check(await connection.fetchval(EPOCH))
            rows = sorted(
                ((watch.standing[rule_id], watch.device.device_id) for watch in watches for rule_id in watch.touched),
                key=lambda row: (row[0].rule_id, row[1]),
            )
            if rows:
                await connection.execute(PUT_ALARMS, *_columns(_alarm(*row) for row in rows))
            if made := [one for watch in watches for one in watch.made]:
                await connection.execute(ADD_TRANSITIONS, *_columns(made))
            await _put_memories(connection, watches)
            if outcomes:
                await connection.execute(PUT_OUTCOMES, *_columns(outcomes))
        for watch in watches:
            watch.stored()

    def _check(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise LeadLost("another process has taken the lead")


async def _put_memories(connection: PoolConnection, watches: Iterable[DeviceWatch]) -> None:
    kept = [watch for watch in watches if not watch.forget]
    if kept:
        # jsonb has no NaN and no infinity, and the engine makes none
        rows = [
            (watch.device.device_id, *watch.evaluation(), json.dumps(watch.memory(), allow_nan=False)) for watch in kept
        ]
        await connection.execute(PUT_MEMORIES, *_columns(rows))
    if gone := [watch.device.device_id for watch in watches if watch.forget]:
        await connection.execute(FORGET, gone)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _alarm(row: Standing, device_id: int) -> tuple[Any, ...]:
    alarm = row.alarm
    return (
        *(row.rule_id, device_id, row.n, row.version, alarm.condition.value, alarm.active, alarm.acknowledged),
        *(alarm.latched, alarm.shelved_until, alarm.shelved_once, alarm.suppressed, alarm.out_of_service),
        *(row.state.value, row.priority, row.since, row.raised_at, row.raised_n, row.value, row.detail),
        *(row.removed_at, row.not_evaluated),
    )


def _standing(row: asyncpg.Record) -> Standing:
    alarm = Alarm(**{field.name: row[field.name] for field in fields(Alarm)})
    alarm = replace(alarm, condition=Condition(row["condition"]))
    names = (
        *("rule_id", "organization_id", "priority", "since", "n", "raised_at", "raised_n", "value", "detail"),
        *("removed_at", "not_evaluated"),
    )
    return Standing(alarm=alarm, version=row["rule_version"], **{name: row[name] for name in names})
