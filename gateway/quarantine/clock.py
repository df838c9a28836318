"""Estimates how wrong a device's clock was from the times of receipt: `replay --shift auto` adds this error.

A message is received after it was sent, sooner or later: the least of (received − newest time in it) over a boot is the
best estimate of the error, and one shift for all keeps the distances between frames. For messages without boot, a jump
of that difference stands for the next power-up. A shift that was decided for a group of messages holds for all of it,
also when a replay is interrupted and repeated: otherwise its frames would be stored twice, at slightly different times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import asyncpg
import msgspec

from gateway.errors import Rejected
from gateway.intake import decode
from gateway.items import EPOCH
from gateway.runtime.database import Pool
from schema.messages import Event, Status, Telemetry
from schema.topics import Kind, parse

JUMP_MS = 60_000.0
TIMED: Mapping[Kind, Callable[[bytes, str | None], Telemetry | Status | Event]] = {
    Kind.TELEMETRY: decode.telemetry,
    Kind.HISTORY: decode.telemetry,
    Kind.STATUS: decode.status,
    Kind.EVENT: decode.event,
}


class TimeUnit(StrEnum):
    """The unit in which a device gave its times."""

    MS = "ms"
    S = "s"
    US = "us"
    NS = "ns"


UNIT_MS = {TimeUnit.MS: 1.0, TimeUnit.S: 1000.0, TimeUnit.US: 1e-3, TimeUnit.NS: 1e-6}


class TimedMessage(NamedTuple):
    """A message of the quarantine that has a time; `shift_ms` is the shift that was decided for it, if any."""

    number: int
    device: str
    reason: str
    boot: int | None
    newest_ms: float
    received_ms: float
    shift_ms: float | None = None


@dataclass
class ClockGroup:
    """Messages with the same error of the clock; `least` is its estimate in ms, `decided` an earlier decision."""

    least: float = math.inf
    decided: float | None = None
    numbers: list[int] = field(default_factory=list)

    @property
    def shift_ms(self) -> float:
        return self.least if self.decided is None else self.decided


def groups(messages: Iterable[TimedMessage]) -> list[ClockGroup]:
    """Group messages, which are in the order of receipt, by device, reason and power-up."""
    found: list[ClockGroup] = []
    current: dict[tuple[str, str, int | None], ClockGroup] = {}
    for heard in messages:
        late = heard.received_ms - heard.newest_ms
        key = heard.device, heard.reason, heard.boot
        group = current.get(key)
        if group is None or (heard.boot is None and late > group.least + JUMP_MS):
            group = current[key] = ClockGroup()
            found.append(group)
        group.least = min(group.least, late)
        if group.decided is None:
            group.decided = heard.shift_ms
        group.numbers.append(heard.number)
    return found


def in_milliseconds(payload: bytes, content_type: str | None, unit: TimeUnit) -> bytes:
    """The message with its times in ms, if they were in `unit`; as it is, if it has none."""
    if unit is TimeUnit.MS or not payload:
        return payload
    json = decode.is_json(payload, content_type)
    try:
        decoded = msgspec.json.decode(decode.finite(payload)) if json else msgspec.msgpack.decode(payload)
        t = decoded["t"]
        times = [time * UNIT_MS[unit] for time in (t if isinstance(t, list) else [t])]
    except (msgspec.DecodeError, LookupError, TypeError):
        return payload
    decoded["t"] = times if isinstance(t, list) else times[0]
    return msgspec.json.encode(decoded) if json else msgspec.msgpack.encode(decoded)


async def shifts(pool: Pool, devices: list[str], unit: TimeUnit, *, decide: bool) -> dict[int, float]:
    """The shifts in ms, by number, of all kept messages of these devices; with `decide` they are stored, and hold."""
    messages = []
    async with pool.acquire() as connection, connection.transaction():
        async for row in connection.cursor(
            """select quarantine_id, device, topic, reason, content_type, payload, received_at, shift_ms
                 from quarantine where device = any ($1) and state <> 'discarded' order by quarantine_id""",
            devices,
        ):
            if (heard := _heard(row, unit)) is not None:
                messages.append(heard)
        found = groups(messages)
        if decide:
            await connection.execute(
                """update quarantine q set shift_ms = s.shift_ms
                     from unnest($1::bigint[], $2::float8[]) as s (quarantine_id, shift_ms)
                    where q.quarantine_id = s.quarantine_id and q.shift_ms is null""",
                [group.numbers[0] for group in found],
                [group.shift_ms for group in found],
            )
    return {number: group.shift_ms for group in found for number in group.numbers}


def _heard(row: asyncpg.Record, unit: TimeUnit) -> TimedMessage | None:
    """The message of a row of the quarantine; None if it has no usable time."""
    parsed = parse(row["topic"])
    if parsed is None or parsed[1] not in TIMED:
        return None
    try:
        payload = in_milliseconds(row["payload"], row["content_type"], unit)
        message = TIMED[parsed[1]](payload, row["content_type"])
    except Rejected:
        return None
    newest = max(message.t, default=math.nan) if isinstance(message.t, list) else message.t
    if not math.isfinite(newest):
        return None
    received_ms = (row["received_at"] - EPOCH) / timedelta(milliseconds=1)
    return TimedMessage(
        row["quarantine_id"], row["device"], row["reason"], message.boot, newest, received_ms, row["shift_ms"]
    )
