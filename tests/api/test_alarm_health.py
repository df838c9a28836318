"""The figures of the alarm system, against sequences worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role, Scope
from api.queries import alarm_health, alerts
from api.queries.alarm_health import floods
from api.shapes import alarm_health as shapes_alarm_health
from schema import times
from schema.alarms.machine import Alarm, Condition
from tests.api import alarms
from tests.api.accounts import Served, api_key, bearer, organization
from tests.api.conform import conforms
from tests.api.plant import Plant
from tests.roles import forced

T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
BEFORE, AFTER = "2026-03-01T10:00:00Z", "2026-03-01T13:00:00Z"
STATES = {
    **{"r": "unacknowledged", "a": "acknowledged", "n": "normal", "b": "returned-unacknowledged", "s": "shelved"},
    **{"x": "unacknowledged", "k": "normal", "c": "returned-unacknowledged", "d": "normal", "u": "unacknowledged"},
    "p": "suppressed",
}
CAUSES = {
    **{"r": "condition", "a": "acknowledge", "n": "return", "b": "return", "s": "shelve", "x": "unshelve"},
    **{"k": "acknowledge", "c": "unknown", "d": "unknown", "u": "unknown", "p": "phase"},
}
ACTIVE = {**dict.fromkeys("rxu", True), **dict.fromkeys("nbcd", False)}
"""Whether the alarm is active afterwards; by another sign it is as before."""


class Log:
    """Writes what the process that evaluates would have written."""

    def __init__(self, sql: asyncpg.Connection) -> None:
        self.sql = sql
        self.states: dict[tuple[int, int], tuple[int, str, int | None]] = {}

    async def alarm(self, device: int, rule: int) -> None:
        await self.sql.execute(
            """insert into alarms (rule_id, device_id, n, rule_version, condition, active, acknowledged, latched,
                                   shelved_once, suppressed, out_of_service, state, priority, since, detail)
               values ($1, $2, 0, 1, 'normal', false, true, false, false, false, false, 'normal', 'low', now(), '')""",
            *(rule, device),
        )

    async def write(self, device: int, rule: int, line: str, priority: str = "high", lag: float = 0.5) -> None:
        """`12r 13.5a`: raised 12 s after T0 by the device's clock, recorded `lag` later; then acknowledged."""
        for word in line.split():
            seconds, sign = float(word[:-1]), word[-1]
            n, before, raised_n = self.states.get((device, rule), (0, "normal", None))
            after = STATES[sign]
            if after == "unacknowledged" != before:
                raised_n = n + 1
            self.states[device, rule] = n + 1, after, raised_n
            at = T0 + timedelta(seconds=seconds)
            await self.sql.execute(
                """insert into alarm_transitions (rule_id, device_id, n, organization_id, at, recorded_at, cause,
                                                  before, after, condition, priority, detail, raised_n)
                   select $1, $2, $3, organization_id, $4, $5, $6, $7, $8, 'active', $9, '', $10
                     from alarm_rules where rule_id = $1""",
                *(rule, device, n + 1, at, at + timedelta(seconds=lag), CAUSES[sign], before, after, priority),
                raised_n,
            )
            await self.sql.execute(
                "update alarms set n = $3, state = $4, raised_n = $5, active = coalesce($6, active)"
                " where rule_id = $1 and device_id = $2",
                *(rule, device, n + 1, after, raised_n, ACTIVE.get(sign)),
            )

    async def forget(self, device: int, rule: int) -> None:
        """As before the first line."""
        del self.states[device, rule]
        of = "where rule_id = $1 and device_id = $2"
        await forced(self.sql, f"delete from alarm_transitions {of}", rule, device)
        await forced(self.sql, f"delete from alarms {of}", rule, device)
        await self.alarm(device, rule)


@pytest.fixture
async def log(plant: Plant) -> Log:
    """br-1 and br-2 with the rules one and two, in main; n-1 with three, in north, busy."""
    log = Log(plant.sql)
    north = await organization(plant.sql, "north")
    for rule in ("one", "two"):
        await alarms.rule(plant.sql, rule)
    await alarms.rule(plant.sql, "three", north)
    for device in ("br-1", "br-2", "n-1"):
        await plant.device(device)
    await plant.sql.execute("update devices set organization_id = $1 where name = 'n-1'", north)
    for device_id, rule_id in ((1, 1), (1, 2), (2, 1), (3, 3)):
        await log.alarm(device_id, rule_id)
    await log.write(3, 3, " ".join(f"{n}r {n + 0.5}n" for n in range(100)))
    return log


async def asked(client: httpx2.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.get("/api/v1/alarms/health", params={"from": BEFORE, "to": AFTER, **query})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    conforms(shapes_alarm_health.AlarmHealth, content)
    return content


async def test_the_figures_of_a_worked_example(log: Log, client: Served) -> None:
    # Raised at 0 and 700 (by hand: acknowledged after 20 s and 30 s; returned after 40 s, and not yet).
    await log.write(1, 1, "0r 20a 40n 700r 730a")
    # Chatters: the third and the fourth came within a minute of the one before the last, the fifth did not.
    await log.write(1, 2, "100r 105b 120r 127b 150r 156b 170r 179b 300r 340b 350a", "low")
    # Shelved and unshelved while active: announced again. The last: out of the range.
    await log.write(2, 1, "200r 210s 260x 10801r", "critical")
    found = await asked(client)
    assert (found["raised"], found["device"]) == (9, None)
    assert found["rate"] == {
        **{"mean": pytest.approx(9 / 18), "most": 8, "most_at": "2026-03-01T10:00:00.000000Z"},
        **{"acceptable": 1.0, "manageable": 2.0},
    }
    assert found["hours"] == [
        {"begin": f"2026-03-01T{hour}:00:00.000000Z", "raised": raised} for hour, raised in ((10, 9), (11, 0), (12, 0))
    ]
    assert found["floods"] == {
        **{"periods": 18, "flooded": 0, "share": 0.0, "target": 0.01, "number": 0, "episodes": []}
    }
    assert [(one["device"], one["rule"], one["raised"], round(one["share"], 4)) for one in found["top"]] == [
        ("br-1", "two", 5, 0.5556),
        ("br-1", "one", 2, 0.2222),
        ("br-2", "one", 2, 0.2222),
    ]
    assert [(one["device"], one["raised"]) for one in found["devices"]] == [("br-1", 7), ("br-2", 2)]
    assert [(one["priority"], one["raised"], one["recommended"]) for one in found["priorities"]] == [
        *(("low", 5, 0.8), ("medium", 0, 0.15), ("high", 2, 0.05), ("critical", 2, 0.01)),
    ]
    chattering, fleeting = found["chattering"], found["fleeting"]
    assert (chattering["alarms"], chattering["raised"], chattering["top"][0]["rule"]) == (1, 2, "two")
    assert (fleeting["alarms"], fleeting["raised"], len(fleeting["top"])) == (1, 4, 1)  # 5, 7, 6 and 9 s
    assert found["acknowledgement"] == {"number": 3, "open": 1, "other": 5, "p50": 30.0, "p90": 50.0, "max": 50.0}
    assert found["return"] == {"number": 6, "open": 2, "other": 1, "p50": 7.0, "p90": 40.0, "max": 40.0}
    only = await asked(client, device="br-2")
    assert (only["device"], only["raised"], [one["rule"] for one in only["top"]]) == ("br-2", 2, ["one"])
    assert (await client.get("/api/v1/alarms/health", params={"device": "n-1"})).status_code == 404


WAITING: tuple[tuple[str, tuple[int, int, int], tuple[int, int, int]], ...] = (  # number, open, other
    ("0r", (0, 1, 0), (0, 1, 0)),
    ("0r 1a", (1, 0, 0), (0, 1, 0)),
    ("0r 1b", (0, 1, 0), (1, 0, 0)),
    ("0r 1b 2k", (1, 0, 0), (1, 0, 0)),
    # A rule clears what is unknown: `unknown: clear`.
    ("0r 1c", (0, 1, 0), (1, 0, 0)),
    ("0r 1a 2d", (1, 0, 0), (1, 0, 0)),
    ("0r 1u 2b", (0, 1, 0), (1, 0, 0)),  # unknown, and it stays
    ("0u 1b", (0, 1, 0), (1, 0, 0)),  # `unknown: raise`
    # Superseded raises wait for nobody.
    ("0r 1b 2r 3b 4r", (0, 1, 2), (2, 1, 0)),
    ("0r 1b 2r 3b 4r 5a", (1, 0, 2), (2, 1, 0)),
    ("0r 1s 2x", (0, 1, 1), (0, 1, 1)),
    # Held back, or over: nobody is waited for.
    ("0r 1s", (0, 0, 1), (0, 1, 0)),
    ("0r 1p", (0, 0, 1), (0, 1, 0)),
    ("0r 1s 2n", (0, 0, 1), (1, 0, 0)),
    ("0r 10801a", (0, 0, 1), (0, 1, 0)),
)


async def test_open_is_what_waits_and_a_return_is_one_by_whatever_cause(
    log: Log, client: Served, subtests: pytest.Subtests
) -> None:
    for line, acknowledged, returned in WAITING:
        with subtests.test(line):
            await log.write(1, 1, line)
            found = await asked(client)
            for figure, counts in (("acknowledgement", acknowledged), ("return", returned)):
                assert tuple(found[figure][name] for name in ("number", "open", "other")) == counts, figure
                assert sum(counts) == found["raised"]
        await log.forget(1, 1)


async def test_floods_and_periods_are_those_of_the_clock(log: Log, client: Served) -> None:
    # 11 in the period of 10:10, 6 in that of 10:20, 4 in that of 10:30: a flood of the first two.
    for begin, count in ((600, 11), (1200, 6), (1800, 4), (5400, 10)):
        await log.write(1, 1, " ".join(f"{begin + n * 20}r {begin + n * 20 + 15}n" for n in range(count)), lag=0)
    found = await asked(client)
    assert (found["floods"]["flooded"], found["floods"]["number"]) == (1, 1)
    assert found["floods"]["episodes"] == [
        {"begin": "2026-03-01T10:10:00.000000Z", "end": "2026-03-01T10:30:00.000000Z", "raised": 17, "most": 11}
    ]
    assert (found["rate"]["most"], found["rate"]["most_at"]) == (11, "2026-03-01T10:10:00.000000Z")
    narrow = await asked(client, **{"from": "2026-03-01T10:15:00Z", "to": "2026-03-01T10:21:00Z"})
    assert (narrow["floods"]["periods"], narrow["raised"]) == (2, 3)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([], []),
        ([10, 10, 10], []),  # more than ten begin it
        ([11], [(0, 1)]),
        ([11, 5, 11, 4, 11], [(0, 3), (4, 5)]),  # less than five end it
        ([5, 11, 5, 0, 5], [(1, 3)]),
        ([11, 0, 5, 12], [(0, 1), (3, 4)]),
    ],
)
def test_a_flood_begins_with_more_than_ten_and_ends_with_less_than_five(
    counts: list[int], wanted: list[tuple[int, int]]
) -> None:
    step = timedelta(minutes=10)
    found = list(floods({T0 + n * step: count for n, count in enumerate(counts) if count}))
    edges = [(times.text(T0 + begin * step), times.text(T0 + end * step)) for begin, end in wanted]
    assert [(one.begin, one.end) for one in found] == edges


async def test_what_stands_now(plant: Plant, client: Served) -> None:
    rule = await alarms.rule(plant.sql, "one", priority="low")
    now = datetime.now(UTC)
    active = Alarm(condition=Condition.ACTIVE, active=True)
    states: dict[str, tuple[Alarm, timedelta]] = {
        "stale": (active, timedelta(hours=25)),
        "staler": (replace(active, acknowledged=False), timedelta(hours=30)),
        "young": (active, timedelta(hours=23)),
        "held": (replace(active, shelved_until=now + timedelta(hours=1)), timedelta(hours=99)),
        "returned": (Alarm(acknowledged=False), timedelta(hours=99)),
        "off": (Alarm(out_of_service=True), timedelta(0)),
        "design": (Alarm(suppressed=True), timedelta(0)),
        "dark": (Alarm(condition=Condition.UNKNOWN), timedelta(0)),
    }
    for name, (alarm, age) in states.items():
        await alarms.become(plant.sql, rule, await plant.device(name), alarm, at=now - age)
    content = (await client.get("/api/v1/alarms/health")).json()
    assert content["now"] == {
        **{"standing": 8, "unacknowledged": 2, "shelved": 1, "suppressed": 1, "out_of_service": 1, "unknown": 1},
        "not_evaluated": 1,
    }
    assert (content["stale"]["alarms"], [one["device"] for one in content["stale"]["top"]]) == (2, ["staler", "stale"])
    assert content["raised"] == 1  # of them all, one was announced


async def test_where_nothing_happened_there_is_nothing_and_no_error(plant: Plant, client: Served) -> None:
    found = await asked(client)
    assert (found["raised"], found["rate"]["most_at"], found["top"], found["acknowledgement"]["p50"]) == (
        0,
        None,
        [],
        None,
    )
    for wrong in ({"from": AFTER, "to": BEFORE}, {"from": "2025-01-01T00:00:00Z", "to": AFTER}, {"format": "csv"}):
        assert (await client.get("/api/v1/alarms/health", params=wrong)).status_code == 422
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    clipped = (await client.get("/api/v1/alarms/health", params={"to": later})).json()
    assert clipped["to"] < later  # what has not been yet would make the mean too small
    key = await api_key(plant.sql, role=Role.ADMIN, scopes=set(Scope) - {Scope.ALARMS_READ})
    assert (await client.get("/api/v1/alarms/health", headers=bearer(key))).status_code == 403


async def test_the_queries_read_what_they_need_and_no_more(log: Log, client: Served) -> None:
    await log.sql.execute("alter table alarm_transitions disable trigger user")
    await log.sql.execute(
        """insert into alarm_transitions (rule_id, device_id, n, organization_id, at, recorded_at, cause, before, after,
                                          condition, priority, detail, raised_n)
           select 1, 1, g, 1, t, t, 'condition', 'normal', 'unacknowledged', 'active', 'low', '', g
             from generate_series(1, 20000) g,
                  lateral (select $1::timestamptz + g * interval '1 min') x (t)""",
        T0,
    )
    await log.sql.execute("analyze alarm_transitions, devices, alarm_rules")
    day = timedelta(days=1)
    statements = {
        "episodes": (
            alarm_health.SQL["episodes"],
            (T0 + day, T0 + 2 * day, None, alarm_health.CHATTERING, alarm_health.FLEETING),
        ),
        "after": (alerts.SQL["after"], (19_000, 500)),
        "newest_after": (alerts.SQL["newest_after"], (10, 500)),
        "bounds": (alerts.SQL["bounds"], ()),
    }
    async with client.app.state.services.server.connection(1) as connection:
        for name, (statement, arguments) in statements.items():
            rows = await connection.fetch(f"explain (costs off) {statement}", *arguments)
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan on alarm_transitions" not in plan, f"{name}\n{plan}"
            wanted = "alarm_transitions_at" if name == "episodes" else "alarm_transitions_(organization|pkey)"
            assert re.search(wanted, plan), f"{name}\n{plan}"
            if name in {"newest_after", "bounds"}:
                assert "Sort" not in plan, f"{name}\n{plan}"
