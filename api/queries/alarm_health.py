"""The figures of the alarm system after ISA-18.2 clause 16 and EEMUA 191: counted by the database, ordered here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from api.database import Database
from api.queries import load
from api.shapes import alarm_health as shapes
from schema import times
from schema.alarms.rules import PRIORITIES
from schema.times import Span

SQL = load("alarm_health")

PERIOD, HOUR = timedelta(minutes=10), timedelta(hours=1)
CHATTERING, FLEETING, STALE = timedelta(minutes=1), timedelta(seconds=10), timedelta(hours=24)
FLOOD, FLOOD_ENDS = 10, 5
"""Alarms in ten minutes: a flood begins with more than the first and ends with fewer than the second (ISA-18.2)."""
ACCEPTABLE, MANAGEABLE = 1.0, 2.0
"""Alarms in ten minutes that are acceptable, and manageable, for one operator (ISA-18.2)."""
FLOODED = 0.01
RECOMMENDED = {"low": 0.80, "medium": 0.15, "high": 0.05, "critical": 0.01}
"""The share of each priority (ISA-18.2); for critical it is an upper bound."""
MOST_EPISODES = 100
TOP = 10


async def figures(database: Database, span: Span, device: str | None, now: datetime) -> shapes.AlarmHealth:
    """Return all figures of a span, for one device or for all. Durations are in s."""
    async with database.connection() as connection:
        [row] = await connection.fetch_planned(SQL["episodes"], span.begin, span.end, device, CHATTERING, FLEETING)
        present = await connection.fetchrow(SQL["now"], device)
        stale = await connection.fetch(SQL["stale"], device, now - STALE)
    raised = row["raised"]
    by_priority: Counter[str] = Counter()
    by_period: Counter[datetime] = Counter()
    for epoch, priority, count in msgspec.json.decode(row["periods"]):
        by_priority[priority] += count
        by_period[datetime.fromtimestamp(epoch, UTC)] += count
    alarms = [_Alarm(*one) for one in msgspec.json.decode(row["alarms"])]

    def nuisance(name: str) -> shapes.Nuisance:
        return shapes.Nuisance(alarms=row[name], raised=row[f"raised_{name}"], top=_top(alarms, name, raised))

    return shapes.AlarmHealth(
        from_=times.text(span.begin),
        to=times.text(span.end),
        device=device,
        raised=raised,
        rate=_rate(span, by_period, raised),
        floods=_floods(span, by_period),
        hours=_hours(span, by_period),
        top=_top(alarms, "raised", raised),
        devices=[
            shapes.TopDevice(device=name, raised=count, share=count / raised)
            for name, count in msgspec.json.decode(row["devices"])
        ],
        priorities=[
            shapes.PriorityShare(
                priority=priority,
                raised=by_priority[priority],
                share=by_priority[priority] / raised if raised else None,
                recommended=RECOMMENDED[priority],
            )
            for priority in PRIORITIES
        ],
        chattering=nuisance("chattering"),
        fleeting=nuisance("fleeting"),
        stale=shapes.Stale(alarms=stale[0]["number"] if stale else 0, top=[shapes.StaleAlarm.of(one) for one in stale]),
        acknowledgement=_durations(row, "acknowledged", "to_acknowledge"),
        return_=_durations(row, "returned", "to_return"),
        now=shapes.Present.of(present),
    )


@dataclass(frozen=True, slots=True)
class _Alarm:
    device: str
    rule: str
    title: str
    raised: int
    chattering: int
    fleeting: int


def _rate(span: Span, by_period: Mapping[datetime, int], raised: int) -> shapes.AlarmRate:
    most = max(by_period, key=lambda period: (by_period[period], -period.timestamp()), default=None)
    return shapes.AlarmRate(
        mean=raised / ((span.end - span.begin) / PERIOD),
        most=0 if most is None else by_period[most],
        most_at=times.optional_text(most),
        acceptable=ACCEPTABLE,
        manageable=MANAGEABLE,
    )


def _hours(span: Span, by_period: Mapping[datetime, int]) -> list[shapes.Hour]:
    found: Counter[datetime] = Counter()
    for period, count in by_period.items():
        found[times.floor(period, HOUR)] += count
    begin = times.floor(span.begin, HOUR)
    hours = (begin + n * HOUR for n in range(times.bucket_count(span.begin, span.end, HOUR)))
    return [shapes.Hour(begin=times.text(hour), raised=found[hour]) for hour in hours]


def _floods(span: Span, by_period: Mapping[datetime, int]) -> shapes.Floods:
    periods = times.bucket_count(span.begin, span.end, PERIOD)
    flooded = sum(count > FLOOD for count in by_period.values())
    found = list(floods(by_period))
    return shapes.Floods(
        periods=periods,
        flooded=flooded,
        share=flooded / periods,
        target=FLOODED,
        number=len(found),
        episodes=found[-MOST_EPISODES:],
    )


def floods(by_period: Mapping[datetime, int]) -> Iterator[shapes.FloodAnswer]:
    """Yield the floods in order: each lasts until a period with fewer than five alarms. Pure."""
    flood: list[datetime] = []
    for period in (*sorted(by_period), times.LAST):  # after the last one nothing was raised
        count = by_period.get(period, 0)
        if flood and (count < FLOOD_ENDS or period != flood[-1] + PERIOD):
            yield shapes.FloodAnswer(
                begin=times.text(flood[0]),
                end=times.text(flood[-1] + PERIOD),
                raised=sum(by_period[one] for one in flood),
                most=max(by_period[one] for one in flood),
            )
            flood = []
        if flood or count > FLOOD:
            flood.append(period)


def _top(alarms: Iterable[_Alarm], what: str, whole: int) -> list[shapes.Top]:
    ordered = sorted(alarms, key=lambda alarm: (-getattr(alarm, what), alarm.device, alarm.rule))
    counted = [(alarm, getattr(alarm, what)) for alarm in ordered[:TOP]]
    return [
        shapes.Top(device=alarm.device, rule=alarm.rule, title=alarm.title, raised=count, share=count / whole)
        for alarm, count in counted
        if count
    ]


def _durations(row: asyncpg.Record, count: str, quantiles: str) -> shapes.Durations:
    """Read counts and quantiles: null, or nulls, if nothing was counted; negative after a clock was set back, which is
    0."""
    p50, p90, most = (None if seconds is None else max(0.0, seconds) for seconds in row[quantiles] or (None,) * 3)
    number, open_ = row[count], row[f"{count}_open"]
    # An alarm may be acknowledged, or return, after the end of the span: then its raise counts as open no more.
    other = row["raised"] - number - open_
    return shapes.Durations(number=number, open=open_, other=other, p50=p50, p90=p90, max=most)
