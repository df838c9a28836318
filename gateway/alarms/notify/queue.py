"""Reads and writes alarm_notifications and alarm_routes for the notifier. All times are by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from gateway.runtime.database import Pool, PoolConnection
from schema.alarms.notification_routes import NotificationRoute

AT_ONCE = 20_000
"""Notifications in one message: what a channel missed in a day becomes one or a few messages, not thousands."""
ENDED_KEPT = timedelta(days=7)
CLEARED_AT_ONCE = 5000

NOW = "select clock_timestamp()"

# Routes with something to tell, without those in the pause after a failure; a test does not wait. (The first that is
# due is found by its index: the planner takes `exists` without one for cheap.)
ROUTES = """
select r.route_id, r.organization_id, r.name, r.definition, r.enabled, r.url, r.version, r.failures, t.n as test
  from alarm_routes r
  left join lateral (
       select notification_id as n from alarm_notifications q
        where q.route_id = r.route_id and q.kind = 'test' and q.state = 'pending') t on true
 where r.route_id <> all ($1::int[])
   and (t.n is not null
        or (coalesce(r.retry_at, '-infinity') <= now()
            and (select q.due_at from alarm_notifications q
                  where q.route_id = r.route_id and q.state in ('pending', 'watched')
                  order by q.due_at limit 1) <= now()))"""

DROP_ALL = """
update alarm_notifications set state = case state when 'watched' then 'done' else 'dropped' end, escalate_at = null
 where route_id = $1 and state in ('pending', 'watched')"""
POSTPONE = """
update alarm_notifications
   set due_at = greatest(due_at, $2),
       escalate_at = case when escalate_at is null then null
                     else greatest(escalate_at, $2 + make_interval(secs => $3::float8)) end
 where route_id = $1 and state in ('pending', 'watched') and kind in ('raised', 'ended', 'escalated') and due_at < $2"""
GIVE_UP = """
update alarm_notifications set state = 'failed', escalate_at = null
 where route_id = $1 and state = 'pending' and tried_at < now() - $2::interval
returning kind"""
TEST_IS_OVER = "update alarm_notifications set state = $2, sent_at = $3, due_at = null where notification_id = $1"

SENT = """
update alarm_notifications
   set state = case when kind in ('raised', 'escalated') and ($2::float8 is not null or escalate_at is not null)
               then 'watched' else 'done' end,
       due_at = case when kind in ('raised', 'escalated') then now() + make_interval(secs => $2::float8) end,
       sent_at = now(), times = times + 1, tried_at = null
 where notification_id = any ($1::bigint[])"""
TELL_IT_WORKS = """
insert into alarm_notifications (route_id, kind, about, due_at)
select o.route_id, 'works', r.name, now()
  from alarm_routes r join alarm_routes o using (organization_id)
 where r.route_id = $1 and r.reported_at is not null and o.route_id <> r.route_id and o.enabled"""
ROUTE_WORKS = """
update alarm_routes
   set sent_at = now(), failing_since = null, failures = 0, retry_at = null, last_error = null, last_error_at = null,
       reported_at = null
 where route_id = $1"""
NOT_SENT = (
    "update alarm_notifications set tried_at = coalesce(tried_at, now()) where notification_id = any ($1::bigint[])"
)
ROUTE_FAILS = """
update alarm_routes
   set failing_since = coalesce(failing_since, now()), failures = failures + 1, last_error = $2, last_error_at = now(),
       retry_at = now() + make_interval(secs => $3::float8)
 where route_id = $1 and version = $4"""
ROUTE_SAYS = "update alarm_routes set last_error = $2, last_error_at = now() where route_id = $1"
REPORT = """
with dead as (
    update alarm_routes set reported_at = now()
     where failing_since < now() - $1::interval and reported_at is null and enabled
    returning route_id, organization_id, name)
insert into alarm_notifications (route_id, kind, about, due_at)
select o.route_id, 'failing', dead.name, now()
  from dead join alarm_routes o using (organization_id)
 where o.route_id <> dead.route_id and o.enabled"""

MEASURE = """
select state, count(*), extract(epoch from now() - min(due_at))::float8 as oldest
  from alarm_notifications where state in ('pending', 'watched') group by 1"""
FAILING = "select count(*) from alarm_routes where failing_since is not null and enabled"
CLEAR = """
delete from alarm_notifications where notification_id = any (array(
    select notification_id from alarm_notifications
     where state in ('done', 'dropped', 'failed') and created_at < now() - $1::interval
     order by created_at limit $2))"""

# Settle raises before ends: a raise that is dropped here was not told.
SETTLE_RAISED = """
update alarm_notifications q set state = case state when 'watched' then 'done' else 'dropped' end, escalate_at = null
 where q.route_id = $1 and q.kind in ('raised', 'escalated')
   and (q.state = 'pending' or (q.state = 'watched' and q.due_at <= now() + make_interval(secs => $2::float8)))
   and not alarm_stands(q)"""
SETTLE_ENDED = """
update alarm_notifications q set state = 'dropped'
 where q.route_id = $1 and q.kind = 'ended' and q.state = 'pending' and not alarm_was_told(q)"""
TAKE = """
select q.notification_id, q.kind, q.times, q.rule_id, q.device_id, q.n, q.about,
       d.name as device, d.title as device_title, d.location, r.definition -> 'when' as condition, c.unit,
       r.definition ->> 'title' as title, r.definition ->> 'message' as message,
       r.definition ->> 'response' as response, a.priority, a.state, a.since, a.raised_at, a.value, a.detail,
       t.who, o.failing_since, o.last_error
  from alarm_notifications q
  left join alarms a on a.rule_id = q.rule_id and a.device_id = q.device_id
  left join alarm_rules r on r.rule_id = q.rule_id
  left join devices d on d.device_id = q.device_id
  left join lateral (
       select t.unit from channel_terms t
        where t.device_id = q.device_id
          and t.channel_id = (select channel_id from channels n where n.name = r.definition -> 'when' ->> 'channel')
       ) c on true
  left join alarm_transitions t on t.rule_id = a.rule_id and t.device_id = a.device_id and t.n = a.n
  join alarm_routes me on me.route_id = q.route_id
  left join alarm_routes o on o.organization_id = me.organization_id and o.name = q.about
 where q.route_id = $1 and q.kind <> 'test'
   and (q.state = 'pending' or (q.state = 'watched' and q.due_at <= now() + make_interval(secs => $2::float8)))
 order by q.notification_id
 limit $3"""
# An escalation goes to the next route, whatever else that tells; if that is off, to the one after it, and so on.
# If none of these is on, it goes to all others of the organization. A route is not told twice about the same alarm.
ESCALATE = """
with recursive due as (
    update alarm_notifications q
       set escalate_at = null, state = case when q.state = 'watched' and q.due_at is null then 'done' else q.state end
     where q.escalate_at <= now() and q.state in ('pending', 'watched')
    returning q
), standing as (
    select q, r.route_id as here, r.organization_id, r.definition ->> 'escalate_to' as escalate_to
      from due join alarm_routes r on r.route_id = (q).route_id
     where alarm_stands(q)
), path as (
    select s.here, n.route_id, n.organization_id, n.enabled, n.definition ->> 'escalate_to' as escalate_to
      from (select distinct here, organization_id, escalate_to from standing) s
      join alarm_routes n on n.organization_id = s.organization_id and n.name = s.escalate_to
    union
    select p.here, n.route_id, n.organization_id, n.enabled, n.definition ->> 'escalate_to'
      from path p
      join alarm_routes n on n.organization_id = p.organization_id and n.name = p.escalate_to
     where not p.enabled
), next as (
    select here, route_id from path where enabled and route_id <> here
    union all
    select s.here, o.route_id
      from (select distinct here, organization_id from standing) s
      join alarm_routes o on o.organization_id = s.organization_id and o.enabled and o.route_id <> s.here
     where not exists (select from path p where p.here = s.here and p.enabled and p.route_id <> s.here)
), told as (
    insert into alarm_notifications (route_id, kind, transition_id, rule_id, device_id, n, due_at, escalate_at)
    select o.route_id, 'escalated', (q).transition_id, (q).rule_id, (q).device_id, (q).n,
           now() + make_interval(secs => (o.definition ->> 'group_wait_s')::float8),
           now() + make_interval(secs => (o.definition ->> 'escalate_after_s')::float8)
      from standing s join next using (here) join alarm_routes o on o.route_id = next.route_id
    on conflict do nothing
    returning 1)
select (select count(*) from told) as told,
       (select count(*) from standing s where exists (
            select from path p join alarm_routes n using (route_id)
             where p.here = s.here and not p.enabled and n.name = s.escalate_to)) as diverted"""


@dataclass(frozen=True, slots=True)
class Due:
    """A route that has something to tell."""

    route_id: int
    organization_id: int
    name: str
    definition: str
    enabled: bool
    url: bytes
    """The sealed URL."""
    version: int
    failures: int
    test: int | None
    """Id of the notification that asks for a test, if any."""

    @property
    def place(self) -> str:
        """The place to which the route's URL is sealed."""
        return f"alarm-routes/{self.organization_id}/{self.name}"


class Queue:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def now(self) -> datetime:
        found: datetime = await self._pool.fetchval(NOW)
        return found

    async def due(self, busy: Sequence[int]) -> list[Due]:
        return [Due(*row) for row in await self._pool.fetch(ROUTES, busy)]

    async def drop_all(self, due: Due) -> None:
        await self._pool.execute(DROP_ALL, due.route_id)

    async def postpone(self, due: Due, route: NotificationRoute, until: datetime) -> None:
        await self._pool.execute(POSTPONE, due.route_id, until, route.escalate_after_s or 0.0)

    async def take(self, due: Due, route: NotificationRoute, give_up: timedelta) -> tuple[list[asyncpg.Record], int]:
        """Return the notifications to tell now and the number given up; drop those that have nothing to tell."""
        async with self._pool.acquire() as connection, connection.transaction():
            given_up = await connection.fetch(GIVE_UP, due.route_id, give_up)
            await connection.execute(SETTLE_RAISED, due.route_id, route.group_wait_s)
            await connection.execute(SETTLE_ENDED, due.route_id)
            return await connection.fetch(TAKE, due.route_id, route.group_wait_s, AT_ONCE), len(given_up)

    async def sent(self, due: Due, route: NotificationRoute, notifications: Sequence[int]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SENT, notifications, route.repeat_after_s)
            await _works(connection, due)

    async def not_sent(self, due: Due, notifications: Sequence[int], error: str, wait_s: float) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(NOT_SENT, notifications)
            await connection.execute(ROUTE_FAILS, due.route_id, error, wait_s, due.version)

    async def tested(self, due: Due, error: str | None) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            if error is None:
                await _works(connection, due)
            else:
                await connection.execute(ROUTE_SAYS, due.route_id, error)
            sent_at = await connection.fetchval(NOW) if error is None else None
            await connection.execute(TEST_IS_OVER, due.test, "failed" if error else "done", sent_at)

    async def escalate(self) -> tuple[int, int]:
        """Return how many notifications were made, and how many escalations found their route off."""
        told, diverted = await self._pool.fetchrow(ESCALATE)
        return told, diverted

    async def report(self, after: timedelta) -> None:
        """Notify the organization's other routes about routes that have failed for so long."""
        await self._pool.execute(REPORT, after)

    async def measure(self) -> tuple[dict[str, int], float, int]:
        """Return the count by state, the seconds that the oldest untold one has been due, and how many routes fail."""
        rows = {row["state"]: row for row in await self._pool.fetch(MEASURE)}
        counts = {state: rows[state]["count"] if state in rows else 0 for state in ("pending", "watched")}
        oldest = rows["pending"]["oldest"] or 0.0 if "pending" in rows else 0.0
        return counts, max(oldest, 0.0), await self._pool.fetchval(FAILING)

    async def clear(self) -> None:
        """Delete notifications that ended more than ENDED_KEPT ago."""
        while _count(await self._pool.execute(CLEAR, ENDED_KEPT, CLEARED_AT_ONCE)) == CLEARED_AT_ONCE:
            pass


async def _works(connection: PoolConnection, due: Due) -> None:
    await connection.execute(TELL_IT_WORKS, due.route_id)
    await connection.execute(ROUTE_WORKS, due.route_id)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
