"""Each fault of controller or network that Biogate brings leaves the trace that its scenario expects."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from device_sim.connection import Broker as BrokerAddress
from device_sim.fleet import Fleet, Plan
from device_sim.frames import Format
from device_sim.habits import Habits
from device_sim.scenario import Fault, FaultKind, Trace, library
from schema.alarms.rules import Skew
from tests.conftest import Broker
from tests.device_sim.rules import RULES
from tests.device_sim.subscriber import say_nothing
from tests.processes import GatewayProcess

QUICK: dict[str, Any] = {"receipt_interval_s": 0.2, "reorder_window_s": 0.5, "backfill_retry_s": 1}
FAULTS = [fault for scenario in library() for fault in scenario.faults if not fault.kind.in_vessel]
BEGIN, LENGTH, FRAMES = 2, 6, 120
"""Seconds until the faults begin, all at once, and for which they last; frames of each device, ten a second."""


@dataclass
class Seen:
    """What is stored of a device."""

    frames: list[asyncpg.Record]
    lost: int
    quarantine: list[str]
    produced: int

    @property
    def lags(self) -> list[timedelta]:
        return [row["received_at"] - row["time"] for row in self.frames]

    @property
    def numbers(self) -> Counter[tuple[int, int]]:
        return Counter((row["boot"], row["seq"]) for row in self.frames)


def quick(fault: Fault, device: str) -> Fault:
    """The same fault for one device, in seconds instead of minutes."""
    slower = {FaultKind.SLOW: 2.0, FaultKind.NTP_STEP: -2.0}.get(fault.kind, fault.magnitude)
    duration = None if fault.duration is None else f"{LENGTH}s"
    return msgspec.structs.replace(fault, at=f"{BEGIN}s", duration=duration, devices=(device,), magnitude=slower)


async def test_each_leaves_the_trace_that_is_expected(
    broker: Broker, database: asyncpg.Connection, gateway: GatewayProcess, prefix: str
) -> None:
    names = [f"{prefix}{fault.kind.replace('_', '-')}" for fault in FAULTS]
    assert len(set(names)) == len(FAULTS)
    await database.execute("insert into devices (name) select unnest($1::text[])", names)
    gateway.start(**QUICK)
    plan = Plan(
        names=names,
        boots=[5] * len(names),
        broker=BrokerAddress.at(broker.url, None, None),
        habits=Habits(Format.JSON, resend_after=2.0),
        rate=10,
        frames=FRAMES,
        scenario=[quick(fault, name) for fault, name in zip(FAULTS, names, strict=True)],
        until_receipted=8.0,
        max_backoff=1.0,
    )
    fleet = Fleet(plan, say_nothing)
    await fleet.run(asyncio.Event(), say_nothing)
    problems = []
    for fault, device in zip(plan.scenario, fleet.devices, strict=True):
        try:
            check(fault, await seen(database, device.name))
        except AssertionError as error:
            problems.append(f"{fault.kind}: {error}")
    assert not problems, "\n".join(problems)
    assert not gateway.log.read_text().count("Traceback")


async def seen(database: asyncpg.Connection, name: str) -> Seen:
    rows = await database.fetch(
        "select boot, seq, time, received_at from frames join devices using (device_id) where name = $1 order by time",
        name,
    )
    lost = await database.fetchval(
        "select coalesce(sum(upper(r) - lower(r)), 0)"
        " from device_streams join devices using (device_id), unnest(lost) r where name = $1",
        name,
    )
    reasons = await database.fetch("select reason from quarantine where topic like '%/' || $1 || '/%'", name)
    return Seen(rows, int(lost), [row["reason"] for row in reasons], FRAMES)


def check(fault: Fault, seen: Seen) -> None:
    """Assert what the scenario expects, and that nothing else is missing."""
    expected = fault.expect
    assert set(seen.quarantine) <= set(expected.quarantine), seen.quarantine
    if expected.quarantine:
        assert seen.quarantine
    for name in expected.alarm:
        when = RULES[name].when
        assert isinstance(when, Skew)  # a minute's worth of frames is another test's
        assert max(seen.lags) > timedelta(seconds=when.limit), max(seen.lags)
    for trace in expected.trace:
        match trace:
            case Trace.LATE:
                late = sum(lag > timedelta(milliseconds=250) for lag in seen.lags)
                assert late > 5, late
                assert len(seen.numbers) == len(seen.frames) == seen.produced, len(seen.frames)
            case Trace.DUPLICATES:
                assert len(seen.numbers) == len(seen.frames) == seen.produced, len(seen.frames)
            case Trace.HOLE:
                assert seen.lost == fault.magnitude, seen.lost
                assert len(seen.frames) == seen.produced, len(seen.frames)
            case Trace.SKEW:
                off = timedelta(seconds=-(fault.magnitude or 0))
                assert max(seen.lags) > off * 0.7, max(seen.lags)
                assert seen.lags[-1] < timedelta(seconds=10) or seen.lags[0] < timedelta(seconds=10)
            case Trace.BOOT:
                boots = [row["boot"] for row in seen.frames]
                assert boots[0] == 5, boots[:1]
                assert boots[-1] == (1 if fault.kind is FaultKind.BOOT_BACK else 6), boots[-1]
            case Trace.RENUMBERED:
                assert seen.numbers.most_common(1)[0][1] > 1, seen.numbers.most_common(1)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_each_says_what_to_expect(fault: Fault) -> None:
    assert fault.expect.alarm or fault.expect.quarantine or fault.expect.trace
