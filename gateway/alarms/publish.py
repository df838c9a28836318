"""Publishes the newest state of each alarm, retained on `alarms/{device}/{rule}`, and clears the topic of an alarm that
is gone.

An alarm waits for publication while its published_n is less than n. A transaction that holds the lead's epoch reads,
publishes and notes each batch, so that a process that has lost the lead cannot publish something old. After a reconnect
everything is published again, also what is normal or gone: a killed broker goes on with what it wrote to its disk some
time before, and would show for ever an alarm that has long returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from secrets import token_hex

import aiomqtt
import asyncpg
import msgspec

from gateway.alarms import metrics
from gateway.alarms.alarm_store import EPOCH
from gateway.alarms.lead import AlarmLead
from gateway.broker.client import MqttClient, client_as
from gateway.errors import LeadLost, SendFailed
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from schema.alarms.retained import RetainedAlarm
from schema.topics import ALARMS, alarm_topic

AT_ONCE = 50
"""Messages published in one transaction. The next leader waits until they are noted."""
ANSWER_S = 3.0
REFUSED = 0x80

COLUMNS = """
select a.rule_id, a.device_id, a.n, a.state, a.condition, a.priority, a.since, a.raised_at, a.value, a.detail,
       a.shelved_until, a.removed_at is not null as is_gone, r.name as rule, d.name as device,
       r.definition ->> 'title' as title, r.definition ->> 'message' as message, r.definition ->> 'response' as response
  from alarms a join alarm_rules r using (rule_id) join devices d using (device_id)"""
# Alarms that are gone come first: another rule of the same name may have their topic by now.
WAITING = (
    COLUMNS
    + """
 where a.published_n < a.n
 order by a.removed_at is null, a.rule_id, a.device_id limit $1"""
)
ALL = (
    COLUMNS
    + """
 where a.n > 0 and (a.removed_at is null) = $1::bool and (a.rule_id, a.device_id) > ($2::int, $3::int)
 order by a.rule_id, a.device_id limit $4"""
)
PUBLISHED = """
with told as (
    select a.rule_id, a.device_id, g.n
      from unnest($1::int[], $2::int[], $3::bigint[]) as g (rule_id, device_id, n)
      join alarms a using (rule_id, device_id)
     where a.published_n < g.n
     order by a.rule_id, a.device_id
       for no key update of a)
update alarms a set published_n = told.n from told where (a.rule_id, a.device_id) = (told.rule_id, told.device_id)"""
HOW_MANY = "select count(*) from alarms where published_n < n"


def payload(alarm: asyncpg.Record) -> bytes:
    """A RetainedAlarm as JSON; nothing if the row is no alarm any more."""
    if alarm["is_gone"]:
        return b""
    return msgspec.json.encode(RetainedAlarm(**{name: alarm[name] for name in RetainedAlarm.__struct_fields__}))


class AlarmPublisher:
    def __init__(
        self,
        settings: Settings,
        login: tuple[str | None, str | None],
        pool: Pool,
        lead: AlarmLead,
        told: asyncio.Event,
        *,
        troubles: Troubles,
    ) -> None:
        self._settings = settings
        self._login = login
        self._pool = pool
        self._lead = lead
        self._told = told
        self._troubles = troubles

    async def run(self) -> None:
        """Publish, for ever, while leading and connected to the broker. The evaluation does not wait for this."""
        trouble = Trouble(self._troubles, "publish alarms")
        while True:
            await self._lead.leading.wait()
            wait = 0.0
            try:
                client = client_as(self._settings, *self._login, f"biogate-alarms-{token_hex(16)}")
                client.pending_calls_threshold = AT_ONCE
                async with client, asyncio.TaskGroup() as group:
                    lost = group.create_task(_until_lost(client), name="until lost")
                    await self._publish(client, trouble)
                    lost.cancel()
            except* LeadLost:
                wait = self._settings.timing.look_s
            except* (aiomqtt.MqttError, SendFailed, *FAILURES) as errors:
                wait = trouble.failed(_first(errors))
            metrics.UNPUBLISHED.forget()
            await asyncio.sleep(wait)

    async def _publish(self, client: MqttClient, trouble: Trouble) -> None:
        """Publish what has changed while leading, and between that every alarm once."""
        again: tuple[bool, int, int] | None = (False, 0, 0)
        while self._lead.leading.is_set():
            self._told.clear()
            full = await self._batch(client, WAITING, AT_ONCE)
            if again is not None:
                last = await self._batch(client, ALL, *again, AT_ONCE)
                if last:
                    again = (again[0], last[-1]["rule_id"], last[-1]["device_id"])
                else:
                    again = None if again[0] else (True, 0, 0)
            trouble.reset()
            if len(full) < AT_ONCE and again is None:
                metrics.UNPUBLISHED.set(await self._pool.fetchval(HOW_MANY))
                await wait_at_most(self._settings.timing.look_s, self._told)

    async def _batch(self, client: MqttClient, query: str, *arguments: int) -> Sequence[asyncpg.Record]:
        """Publish the alarms that a query finds, note them, return them. Raises LeadLost, SendFailed."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(EPOCH) != self._lead.epoch:
                raise LeadLost("another process has taken the lead")
            alarms: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            if alarms:
                await self._send(client, alarms)
                columns = ([alarm[name] for alarm in alarms] for name in ("rule_id", "device_id", "n"))
                await connection.execute(PUBLISHED, *columns)
        metrics.PUBLISHED.inc(len(alarms))
        return alarms

    async def _send(self, client: MqttClient, alarms: Sequence[asyncpg.Record]) -> None:
        """Publish all of them one after another, without waiting for each PUBACK."""
        client.worst = 0
        async with asyncio.TaskGroup() as group:
            for alarm in alarms:
                to = alarm_topic(alarm["device"], alarm["rule"])
                group.create_task(client.publish(to, payload(alarm), qos=1, retain=True, timeout=ANSWER_S))
        if client.worst >= REFUSED:
            raise SendFailed(f"refused by the broker, {client.worst:#x}: its login may not publish {ALARMS}/#")


async def _until_lost(client: MqttClient) -> None:
    """Wait until the connection is lost, which raises MqttError."""
    async for _ in client.messages:
        pass


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
