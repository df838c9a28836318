"""Notifies people of alarms, in the process that leads.

The transaction that stores transitions also inserts what each route has to tell into alarm_notifications (migration
0010). The notifier takes it from there, route by route: all that waits goes into one message, and is marked as told
once the channel has accepted it. So a kill loses nothing, but a message may come twice. One process sends at a time: it
holds an advisory lock on the connection that listens.

A route has one message under way, so order is kept, and a dead or slow channel delays no other. Messages are sent by
processes of their own, of which each organization has a share (channel.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, ParamSpec
from zoneinfo import ZoneInfo

import asyncpg
import structlog
from pydantic import TypeAdapter, ValidationError

from gateway.alarms.notify import message, metrics
from gateway.alarms.notify.channel import Notice, NotificationChannels, SendingPlaces
from gateway.alarms.notify.message import NotifiedAlarm
from gateway.alarms.notify.queue import Due, Queue
from gateway.errors import GatewayError
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles, backoff_s, listening, retry_until_it_works
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from schema.alarms.notification_routes import SCHEMES, NotificationRoute, opening, scheme
from schema.alarms.rules import Condition
from schema.alarms.wording import limit_in_words

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

P = ParamSpec("P")

log = structlog.get_logger()

CLEAR_S = 600.0
ANSWER_S = 5.0
LONGEST_PAUSE_S = 300.0
LAST_WORDS_S = 5.0
"""Seconds that messages under way get at shutdown: unmarked ones would be sent twice."""

CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)
LOCK = "select pg_try_advisory_lock(hashtextextended('biogate notifications', 0))"


class UnusableRoute(GatewayError):
    """Raised when a route's URL cannot be used; the text says why, without the URL."""


class Notifier:
    def __init__(
        self, settings: Settings, pool: Pool, leading: asyncio.Event, troubles: Troubles | None = None
    ) -> None:
        self._settings = settings
        self._timing = settings.timing
        self._queue = Queue(pool)
        self._leading = leading
        self._troubles: Troubles = {} if troubles is None else troubles
        self._channels = NotificationChannels(settings.notify_timeout_s, settings.notify_private)
        self._schemes = frozenset((settings.notify_schemes or ",".join(SCHEMES)).replace(" ", "").lower().split(","))
        self._told = asyncio.Event()
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._may_send = False
        self._places = SendingPlaces()
        self._key: X25519PrivateKey | None = None
        self._unreadable: set[tuple[int, int]] = set()
        """(route_id, version) of the routes whose error was logged."""

    async def run(self) -> None:
        """Send notifications, for ever, while leading and connected to the database."""
        trouble = Trouble(self._troubles, "send notifications")
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._leading.wait()
                    try:
                        async with listening(self._settings, "notify", "biogate_alarms", self._told) as connection:
                            await self._work(connection, trouble, group)
                    except FAILURES as error:
                        await asyncio.sleep(trouble.failed(error))
                    finally:
                        self._may_send = False
                        for known in (metrics.QUEUE, metrics.OLDEST, metrics.ROUTES_FAILING):
                            known.forget()
            finally:
                if self._busy:
                    await asyncio.wait(self._busy.values(), timeout=LAST_WORDS_S)
                await self._channels.close()

    async def _work(self, connection: asyncpg.Connection, trouble: Trouble, group: asyncio.TaskGroup) -> None:
        """Send notifications until another process leads."""
        measured = cleared = float("-inf")
        while self._leading.is_set():
            async with asyncio.timeout(ANSWER_S):  # which also proves that this process still has the lock
                self._may_send = self._may_send or bool(await connection.fetchval(LOCK))
                await connection.fetchval("select 1")
            self._told.clear()
            if self._may_send:
                await self._look(group)
                if time.monotonic() - measured > self._timing.notify_measure_s:
                    measured = time.monotonic()
                    await self._measure()
                if time.monotonic() - cleared > CLEAR_S:
                    cleared = time.monotonic()
                    await self._queue.clear()
            trouble.reset()
            await asyncio.sleep(self._timing.notify_pause_s)
            await wait_at_most(self._timing.look_s - self._timing.notify_pause_s, self._told)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        now = await self._queue.now()
        for due in await self._queue.due(list(self._busy)):
            route = self._read(due)
            if route is None:
                continue
            if not due.enabled:
                await self._queue.drop_all(due)
            elif due.test is None and (begins := opening(route, now)) > now:
                await self._queue.postpone(due, route, begins)
            else:
                task = group.create_task(self._serve(due, route), name=f"notify {due.route_id}")
                self._busy[due.route_id] = task
                task.add_done_callback(partial(self._free, due.route_id))
        told, diverted = await self._queue.escalate()
        metrics.ESCALATED.inc(told)
        if diverted:
            metrics.DIVERTED.inc(diverted)
            log.warning("alarms were escalated to a route that is off: others were told", alarms=diverted, told=told)
        await self._queue.report(timedelta(seconds=self._settings.notify_report_s))

    def _free(self, route_id: int, _: asyncio.Task[None]) -> None:
        del self._busy[route_id]

    def _read(self, due: Due) -> NotificationRoute | None:
        try:
            return NotificationRoute.model_validate_json(due.definition)
        except ValidationError as error:
            if (due.route_id, due.version) not in self._unreadable:
                self._unreadable.add((due.route_id, due.version))
                log.error("an alarm route cannot be read: save it again", route=due.name, problems=error.error_count())
            return None

    async def _serve(self, due: Due, route: NotificationRoute) -> None:
        """Send one or a few messages of a route. A failure concerns no other route, and is tried again."""
        trouble = Trouble(self._troubles, f"tell alarms by {due.name}")
        async with self._places.place(due.organization_id, failing=bool(due.failures)):
            if not self._may_send:
                return
            try:
                if due.test is not None:
                    await self._persist(self._queue.tested, due, await self._send(due, message.test(due.name)))
                else:
                    await self._tell(due, route)
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
                trouble.reset()
            except Exception as error:  # a defect in this route's alarms or channel: the other routes go on
                log.exception(
                    "notifications cannot be sent: a defect", route=due.name, organization=due.organization_id
                )
                metrics.FAILED.labels("none").inc()
                wait_s = backoff_s(due.failures + 1, LONGEST_PAUSE_S, self._timing.notify_retry_s)
                await self._persist(self._queue.not_sent, due, [], f"a defect: {type(error).__name__}", wait_s)

    async def _tell(self, due: Due, route: NotificationRoute) -> None:
        give_up = timedelta(seconds=self._settings.notify_give_up_s)
        rows, given_up = await self._queue.take(due, route, give_up)
        if given_up:
            metrics.GIVEN_UP.inc(given_up)
            log.error(
                "notifications were given up: their route has failed for too long", route=due.name, number=given_up
            )
        zone = ZoneInfo(route.time_zone)
        for content, notifications in _messages(rows, zone, await self._queue.now()):
            error = await self._send(due, content)
            if error is not None:
                wait_s = backoff_s(due.failures + 1, LONGEST_PAUSE_S, self._timing.notify_retry_s)
                await self._persist(self._queue.not_sent, due, notifications, error, wait_s)
                return
            await self._persist(self._queue.sent, due, route, notifications)

    async def _send(self, due: Due, content: Notice) -> str | None:
        kind = "none"
        error: str | None
        try:
            url = self._open(due)
            if scheme(url) not in self._schemes:
                raise UnusableRoute(f"URLs of the kind {scheme(url) or '(none)'} are not allowed here")
            kind = scheme(url)
            error = await self._channels.send(url, content)
        except GatewayError as unusable:
            error = str(unusable)
        facts = {"route": due.name, "organization": due.organization_id, "scheme": kind, "title": content.title}
        if error is None:
            metrics.SENT.labels(kind).inc()
            log.info("notification sent", **facts)
        else:
            metrics.FAILED.labels(kind).inc()
            log.warning("notification not sent: tried again", error=error, **facts)
        return error

    def _open(self, due: Due) -> str:
        """The route's URL in clear. Raises GatewayError. Loads cryptography only here, when it is needed."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

        from gateway.secrets import VAULT, load_key  # noqa: PLC0415
        from schema.sealed import Unreadable, unseal  # noqa: PLC0415

        if self._key is None:
            if self._settings.secrets_dir is None:
                raise UnusableRoute("the route's URL cannot be opened: the alarms process has no BIOGATE_SECRETS_DIR")
            self._key = load_key(self._settings.secrets_dir / VAULT, X25519PrivateKey)  # type: ignore[type-abstract]
        try:
            return unseal(self._key, due.url, due.place).decode()
        except Unreadable as error:
            raise UnusableRoute("the route's URL was sealed to another key: enter it again") from error

    async def _persist(self, write: Callable[P, Awaitable[None]], /, *arguments: P.args, **named: P.kwargs) -> None:
        """Note the outcome of a message, until the database has it: otherwise the message would be sent again."""
        await retry_until_it_works(self._troubles, "note what was sent", write, *arguments, **named)

    async def _measure(self) -> None:
        counts, oldest_s, failing = await self._queue.measure()
        for state, count in counts.items():
            metrics.QUEUE.set(count, state)
        metrics.OLDEST.set(oldest_s)
        metrics.ROUTES_FAILING.set(failing)


def _messages(rows: Sequence[asyncpg.Record], zone: ZoneInfo, now: datetime) -> Iterator[tuple[Notice, list[int]]]:
    """Yield messages with the ids of their notifications: one for all alarms, then one for each report on a route."""
    alarms: dict[tuple[int, int], asyncpg.Record] = {}
    of_alarms = [row for row in rows if row["rule_id"] is not None]
    for row in of_alarms:  # a later row of an alarm replaces an earlier one
        alarms[row["rule_id"], row["device_id"]] = row
    if alarms:
        yield message.compose([_told(row) for row in alarms.values()], zone, now), _numbers(of_alarms)
    for row in rows:
        if row["kind"] == "failing":
            yield message.failing(row["about"], row["failing_since"], row["last_error"], zone), _numbers([row])
        elif row["kind"] == "works":
            yield message.works(row["about"]), _numbers([row])


def _numbers(rows: Sequence[asyncpg.Record]) -> list[int]:
    return [row["notification_id"] for row in rows]


def _told(row: asyncpg.Record) -> NotifiedAlarm:
    given = {field.name: row[field.name] for field in fields(NotifiedAlarm) if field.name != "limit"}
    texts = {"message": row["message"] or "", "response": row["response"] or "", "limit": _limit(row)}
    return NotifiedAlarm(**given | texts)


def _limit(row: asyncpg.Record) -> str:
    """What the rule compares with; nothing if another version of the product has saved it."""
    try:
        when = CONDITION.validate_json(row["condition"] or "null")
    except ValidationError:
        return ""
    return limit_in_words(when, row["unit"])
