"""What flows through the stages, made for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import asyncpg
import msgpack
import numpy as np

from gateway.broker.window import IntakeWindow
from gateway.intake.accounting import ItemCounts
from gateway.intake.admit import Admission, Missing
from gateway.intake.registry import Registry
from gateway.items import Acknowledger, Delivery, Device, Frame, Item, NoBroker, SlotMapping, TopicRoute
from gateway.runtime.database import Pool, Troubles
from gateway.settings import Settings, Timing
from gateway.storage.write import Writer
from schema.topics import Kind, topic

DEVICES = [f"r{i}" for i in range(1, 15)]
DAY_MS = 86_400_000.0
NOW_MS = 1_795_161_600_000.0  # some whole second
"""A whole second of today, the same all through a run."""
NOWHERE = NoBroker()
"""For stages that pass the connection on and do not look at it."""
REFUSED_AT_COMMIT = """
create function refuse() returns trigger language plpgsql as $$
begin if new.firmware = 'bad' then raise exception 'no' using errcode = '23000'; end if; return null; end $$;
create constraint trigger refuse after insert on statuses deferrable initially deferred
    for each row execute function refuse()"""
"""Makes the database refuse the COMMIT of a transaction with a status of the firmware "bad"."""


class Quick(Settings):
    """Settings under which the parts look and pause a tenth as long."""

    timing = Timing(**{name: seconds / 10 for name, seconds in asdict(Timing()).items()})


def settings(database_url: str = "postgresql://nobody@127.0.0.1:1/none", **changes: Any) -> Settings:
    return Quick.model_validate({"database_url": database_url, "mqtt_url": "mqtt://127.0.0.1:1"} | changes)


def delivery(
    payload: bytes,
    to: str = topic("r1", Kind.TELEMETRY),
    *,
    content_type: str | None = None,
    received_ms: float = NOW_MS,
    connection: Acknowledger = NOWHERE,
    packet_id: int = 0,
    fault: str | None = None,
) -> Delivery:
    made = Delivery(connection, packet_id, to, payload, content_type, received_ms, fault)
    IntakeWindow(2**40).add(made)  # weighed
    return made


async def admit(admission: Admission, registry: Registry, message: Delivery) -> Sequence[Item]:
    """As the pipeline does it: what is missing is looked for, then once more."""
    await registry.find(admission.unknown_devices([message.topic]))
    try:
        return admission.admit(message)
    except Missing as missing:
        await registry.map([missing.wanted])
    return admission.admit(message)


async def admitted(registry: Registry, kind: Kind, *messages: Mapping[str, object]) -> list[Item]:
    """The items of r1's messages of a kind, one after another."""
    admission = Admission(settings(), registry)
    items: list[Item] = []
    for message in messages:
        items += await admit(admission, registry, delivery(msgpack.packb(message), topic("r1", kind)))
    return items


async def frames(
    registry: Registry, device: str, *rows: tuple[float, Mapping[str, float | None]], **fields: Any
) -> list[Frame]:
    """One frame a row `(t, values)`; `fields` hold for all. Without `seq` they are numbered from 0."""
    known = registry.device(device)
    assert known is not None
    route = TopicRoute(topic(device, Kind.TELEMETRY), Kind.TELEMETRY, known)
    await registry.map((known, tuple(values)) for _, values in rows)
    made = []
    for n, (t, values) in enumerate(rows):
        mapping = known.mappings[tuple(values)]
        assert isinstance(mapping, SlotMapping), mapping
        given = {"boot": 1, "seq": n, "quality": None} | fields
        made.append(Frame(route, mapping, t, received_ms=NOW_MS, values=tuple(values.values()), **given))
    return made


def mapping(channels: Sequence[str], slots: Sequence[int], width: int, layout_id: int = 1) -> SlotMapping:
    return SlotMapping(tuple(channels), layout_id, width, np.array(slots, dtype=np.intp))


def route(device_id: int, name: str = "r1") -> TopicRoute:
    return TopicRoute(topic(name, Kind.TELEMETRY), Kind.TELEMETRY, Device(device_id, name))


def make_writer(pool: Pool, registry: Registry, troubles: Troubles | None = None, max_chunks: int = 32) -> Writer:
    troubles = {} if troubles is None else troubles
    return Writer(pool, registry, troubles, cell="main", chunk_ms=DAY_MS, max_chunks=max_chunks)


async def totals(database: asyncpg.Connection, kind: str = "frame") -> tuple[int, int, int, int]:
    """(committed, duplicate, quarantined, discarded) of the cell, as the database counts."""
    row = await database.fetchrow(
        "select committed, duplicate, quarantined, discarded from intake_totals where cell = 'main' and kind = $1", kind
    )
    return cast(tuple[int, int, int, int], tuple(row))


def counts(outcome: ItemCounts, kind: Any = "frame") -> tuple[int, int, int, int]:
    """The same of an outcome."""
    return outcome.committed[kind], outcome.duplicate[kind], outcome.quarantined[kind], outcome.discarded[kind]


async def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    """Wait for another process or task: until `condition`, or what it returns to be awaited, is true."""
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if asyncio.iscoroutine(met):
                met = await met
            if met:
                return
            await asyncio.sleep(0.005)


async def take_lead(database: asyncpg.Connection, what: str, count: str, *arguments: str) -> None:
    """As another process takes the lead whose connection came first after an outage."""
    await database.execute(
        "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and objsubid = 1"
        " and database = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()"
    )
    await database.execute("select pg_advisory_lock(hashtextextended($1, 0))", f"biogate {what}")
    await database.execute(count, *arguments)
