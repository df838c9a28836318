"""Routes and alarms as the API and the evaluator write them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.alarms.notify.notifier import Notifier
from gateway.runtime.database import create_pool
from gateway.secrets import VAULT, load_key
from schema.alarms.notification_routes import NotificationRoute, shown
from schema.migrate import ALARMS
from schema.sealed import seal
from tests.gateway.cell import eventually
from tests.gateway.material import settings
from tests.roles import as_role

ACTIVE = ("unacknowledged", "acknowledged")
BECOMES = """
with changed as (
    insert into alarms as a (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched,
                             shelved_once, suppressed, out_of_service, state, priority, since, raised_at, value, detail)
    select r.rule_id, d.device_id, 1, 1, 'active', $3, false, false, false, false, false, $4, r.priority, now(), now(),
           38.25, 'above 37.5'
      from alarm_rules r join devices d using (organization_id)
     where r.name = $1 and d.name = any ($2)
    on conflict (rule_id, device_id) do update
       set n = a.n + 1, state = excluded.state, active = excluded.active, since = now()
    returning *)
insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after, condition, priority,
                               value, detail, who)
select c.rule_id, c.device_id, c.n, r.organization_id, now(), 'condition', coalesce(t.after, 'normal'), $4, 'active',
       c.priority, c.value, c.detail, $5
  from changed c
  join alarm_rules r using (rule_id)
  left join alarm_transitions t on t.rule_id = c.rule_id and t.device_id = c.device_id and t.n = c.n - 1"""


LOOKS = 5


class Watched(Notifier):
    """A notifier of which it is known how often the queue was looked at: all of this process together."""

    looks: ClassVar = 0

    async def _look(self, group: asyncio.TaskGroup) -> None:
        await super()._look(group)
        Watched.looks += 1


class Plant:
    def __init__(self, sql: asyncpg.Connection, secrets: Path) -> None:
        self.sql = sql
        key = load_key(secrets / VAULT, X25519PrivateKey)  # type: ignore[type-abstract]
        self._public = key.public_key().public_bytes_raw()

    async def route(self, name: str, url: str, organization_id: int = 1, **settings: Any) -> int:
        """Tells at once, unless it is said otherwise."""
        route = NotificationRoute.model_validate({"group_wait_s": 0.0, **settings})
        return int(
            await self.sql.fetchval(
                "insert into alarm_routes (organization_id, name, definition, url, address)"
                " values ($1, $2, $3, $4, $5) returning route_id",
                *(organization_id, name, route.model_dump_json()),
                *(seal(self._public, url.encode(), f"alarm-routes/{organization_id}/{name}"), shown(url)),
            )
        )

    async def rule(self, name: str = "hot", organization_id: int = 1, **definition: Any) -> int:
        whole = {"enabled": True, "priority": "critical", "title": "Temperature high", "message": "", "response": ""}
        return int(
            await self.sql.fetchval(
                "insert into alarm_rules (organization_id, name, definition) values ($1, $2, $3) returning rule_id",
                *(organization_id, name, json.dumps(whole | definition)),
            )
        )

    async def devices(self, *names: str, tags: tuple[str, ...] = (), organization_id: int = 1) -> None:
        await self.sql.execute(
            "insert into devices (name, tags, organization_id) select unnest($1::text[]), $2, $3",
            *(names, tags, organization_id),
        )

    async def becomes(self, state: str, *devices: str, rule: str = "hot", who: str | None = None) -> None:
        """Of all these devices at once, in a transaction, as the evaluator does it."""
        status = await self.sql.execute(BECOMES, rule, devices, state in ACTIVE, state, who)
        assert status == f"INSERT 0 {len(devices)}"

    async def states(self) -> dict[str, int]:
        rows = await self.sql.fetch("select state, count(*) from alarm_notifications group by 1")
        return {row["state"]: row["count"] for row in rows}

    async def looked_at(self, at_least_s: float = 0.0) -> None:
        """For what shall not happen: the queue was looked at a few times more, and time has passed."""
        looks, ends = Watched.looks + LOOKS, time.monotonic() + at_least_s
        await until(lambda: Watched.looks >= looks and time.monotonic() >= ends)


@asynccontextmanager
async def notifying(database_url: str, secrets: Path, **changes: Any) -> AsyncIterator[Notifier]:
    """The notifier of a process that leads."""
    given = {"mqtt_url": "mqtt://127.0.0.1:1", "notify_private": True, "secrets_dir": secrets, **changes}
    chosen = settings(as_role(database_url, ALARMS), **given)
    leading = asyncio.Event()
    leading.set()
    async with create_pool(chosen) as pool:
        notifier = Watched(chosen, pool, leading)
        task = asyncio.create_task(notifier.run())
        try:
            yield notifier
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, 30)
