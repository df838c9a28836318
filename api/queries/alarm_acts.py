"""SQL for acts on alarms: people ask by a row, and the process that evaluates alarms does it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import asyncpg

from api.access.roles import Principal, Role
from api.database import Database
from api.http.patience import Waiting, seen
from api.problems import Forbidden, TooMuch
from api.queries import alarms, load
from api.settings import ApiSettings
from api.shapes.alarm_acts import MOST_ALARMS, Act, Acting, Acts, OutcomeAnswer, Outcomes, Shelving
from schema.alarms.machine import Action

SQL = load("alarm_acts")
ROLES: Mapping[Action, Role] = {
    Action.ACKNOWLEDGE: Role.CONTROL_ROOM,
    Action.RESET: Role.OPERATOR,
    Action.SHELVE: Role.OPERATOR,
    Action.UNSHELVE: Role.OPERATOR,
    Action.SUPPRESS: Role.ENGINEER,
    Action.UNSUPPRESS: Role.OPERATOR,
    Action.REMOVE: Role.ENGINEER,
    Action.RETURN: Role.ENGINEER,
}
"""The least role for each act: a control room acknowledges and does nothing else, and what has no end by itself is for
engineers."""
ActArguments: TypeAlias = tuple[str, datetime | None, timedelta | None, bool, str, str, str]
"""Action, end and duration of a shelving, whether it ends when the alarm returns; who asks, and why; the longest
shelving in s by priority, as JSON."""
ChosenAlarm: TypeAlias = tuple[str, str, int | None]
"""Device, rule, and the number of the transition that the person saw last."""
FIRST_LOOK_S = 0.02
"""The time before the second look at what was asked for: soon, as it usually takes a moment only."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for acts, and how long the request may wait until they are done."""

    member: Principal
    settings: ApiSettings
    waiting: Waiting
    gone: Callable[[], Awaitable[bool]]

    def arguments(self, action: Action, given: Acting | Shelving | Acts) -> ActArguments:
        longest = json.dumps(self.settings.longest_shelving_s)
        if isinstance(given, Acting):
            return action, None, None, False, self.member.who, given.why, longest
        span = None if given.duration_s is None else timedelta(seconds=given.duration_s)
        return action, given.until, span, given.once, self.member.who, given.why, longest

    async def settled(self, database: Database, numbers: Sequence[int]) -> dict[int, Act]:
        """Return the acts when they are done or when patience ends; at once while too many requests wait already."""
        whose = self.member.organization_id
        patience = 0.0 if self.waiting.is_full(whose) else self.settings.api_act_patience
        with self.waiting.one_more(whose):
            return await settled(database, numbers, patience, self.gone)


async def many(database: Database, asker: Asker, given: Acts) -> Outcomes:
    """Ask for an act on many alarms; each is done or refused for itself. Raises Forbidden, TooMuch."""
    role = asker.member.role
    if role is None or not role.covers(ROLES[given.action]):
        raise Forbidden(f"{given.action} is for the role {ROLES[given.action]} or higher; you are {role}")
    chosen = await _chosen(database, given)
    numbers = await act_on_many(database, chosen, asker.arguments(given.action, given)) if chosen else []
    found = await asker.settled(database, [number for number in numbers if number is not None])
    outcomes = [
        OutcomeAnswer(
            device=device,
            rule=rule,
            outcome="unknown" if number is None else found[number].state,
            act=number,
            detail=None if number is None else found[number].refused,
        )
        for (device, rule, _), number in zip(chosen, numbers, strict=True)
    ]
    counted = Counter(one.outcome for one in outcomes)
    sums = {name: counted[name] for name in ("done", "refused", "waiting", "unknown")}
    return Outcomes(**sums, acts=outcomes)


async def _chosen(database: Database, given: Acts) -> list[ChosenAlarm]:
    if given.alarms is not None:
        return [(one.device, one.rule, one.n) for one in given.alarms]
    assert given.filter is not None
    which = given.filter
    found = await alarms.page(database, which, ("", ""), MOST_ALARMS + 1, device=which.device, tags=which.tag)
    if len(found) > MOST_ALARMS:
        raise TooMuch(f"filter: it holds for more than {MOST_ALARMS} alarms: narrow it, and do them one part at a time")
    return [(one["device"], one["rule"], one["n"]) for one in found]


async def act(database: Database, alarm: ChosenAlarm, arguments: ActArguments) -> int:
    """Ask for an act on an alarm; returns the number of the act."""
    device, rule, seen = alarm
    async with database.change() as connection:
        return int(await connection.fetchval(SQL["act"], device, rule, *arguments, seen))


async def act_on_many(database: Database, alarms: Sequence[ChosenAlarm], arguments: ActArguments) -> list[int | None]:
    """Ask for the same act on many alarms, all or none; None where there is no such device or rule."""
    async with database.change() as connection:
        devices, rules, seen = ([alarm[place] for alarm in alarms] for place in range(3))
        rows = await connection.fetch(SQL["act_on_many"], devices, rules, *arguments, seen)
    return [row["act_id"] for row in rows]


async def acts(database: Database, numbers: Sequence[int]) -> dict[int, Act]:
    return {row["act_id"]: _act(row) for row in await database.fetch(SQL["acts"], list(numbers))}


async def settled(
    database: Database, numbers: Sequence[int], patience: float, gone: Callable[[], Awaitable[bool]]
) -> dict[int, Act]:
    """Return the acts when all are done or refused, or as they are when patience (s) ends or the client has gone."""

    def over(found: dict[int, Act]) -> bool:
        return all(one.state != "waiting" for one in found.values())

    return await seen(lambda: acts(database, numbers), over, patience, gone, FIRST_LOOK_S)


def _act(row: asyncpg.Record) -> Act:
    done = "done" if row["refused"] is None else "refused"
    return Act.of(row, id=row["act_id"], state="waiting" if row["done_at"] is None else done)
