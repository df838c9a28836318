"""Compares what the devices say they produced with what is stored: in bulk, frame by frame, value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import msgpack
import numpy as np
import numpy.typing as npt

from schema.messages import BAD

PIECE = 20_000
SINCE_2000_US = 946_684_800_000_000
NAMED = 10
"""Frames listed by name in a complaint; the rest are counted."""

Key = tuple[str, int, int]
"""Device, boot, seq."""


@dataclass(frozen=True)
class Produced:
    """Frames by the journal; one row each. All of a device have the same channels."""

    channels: tuple[str, ...]
    devices: list[str]
    device: npt.NDArray[np.int64]
    """Index into `devices`."""
    boot: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    """Since 1970."""
    values: npt.NDArray[np.float64]
    """NaN: no value."""
    quality: npt.NDArray[np.int16]
    sent: dict[str, tuple[str, ...]]
    """By device: which of the channels it sends."""
    lost: dict[Key, str] = field(default_factory=dict)
    """Those the device gave up, with its reason."""

    def __len__(self) -> int:
        return len(self.seq)


@dataclass
class Verdict:
    """What became of all frames, and what is wrong with it."""

    produced: int = 0
    stored: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """By reason: frames by the journal which are not stored, but kept with a reason."""
    lost: Counter[str] = field(default_factory=Counter)
    """By the device's own reason."""
    vanished: int = 0
    wrong: int = 0
    """Stored twice, with other content, or without having been produced."""
    complaints: list[str] = field(default_factory=list)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.produced + other.produced,
            self.stored + other.stored,
            self.quarantined + other.quarantined,
            self.lost + other.lost,
            self.vanished + other.vanished,
            self.wrong + other.wrong,
            self.complaints + other.complaints,
        )


TABLE = """
create temp table produced (
    device_id integer, layout_id integer, boot bigint, seq bigint, time timestamptz,
    values float8[], quality smallint[])"""

TWICE = """
select d.name, f.boot, f.seq from frames f join devices d using (device_id)
 where device_id in (select distinct device_id from produced) and f.seq is not null
 group by 1, 2, 3 having count(*) > 1"""

INVENTED = """
select d.name, f.boot, f.seq
  from frames f join devices d using (device_id) left join produced p using (device_id, boot, seq)
 where device_id in (select distinct device_id from produced) and p.seq is null"""

OTHER = """
select d.name, p.boot, p.seq from produced p join frames f using (device_id, boot, seq) join devices d using (device_id)
 where f.layout_id <> p.layout_id or f.time <> p.time or array_replace(f.values, null, 'NaN') <> p.values
    or coalesce(f.quality, array_fill(0::smallint, array[cardinality(p.quality)])) <> p.quality"""

MISSING = """
select d.name, p.boot, p.seq from produced p join devices d using (device_id)
 where not exists (select from frames f where (f.device_id, f.boot, f.seq) = (p.device_id, p.boot, p.seq))"""


async def verify(connection: asyncpg.Connection, produced: Produced) -> Verdict:
    """Every frame is stored once, equal; or in quarantine with a reason; or lost, by name and with a reason."""
    verdict = Verdict(produced=len(produced))
    await connection.execute(TABLE)
    for channels in dict.fromkeys(produced.sent.values()):
        await _load(connection, produced, channels)
    await connection.execute("create index on produced (device_id, boot, seq); analyze produced")
    for statement, complaint in (
        (TWICE, "stored twice"),
        (INVENTED, "stored, but never produced"),
        (OTHER, "stored with other content"),
    ):
        keys = [tuple(row) for row in await connection.fetch(statement)]
        verdict.wrong += len(keys)
        _complain(verdict, complaint, keys)
    missing = [tuple(row) for row in await connection.fetch(MISSING)]
    verdict.stored = len(produced) - len(missing)
    kept = await quarantined_frames(connection)
    vanished = []
    for key in missing:
        if key in kept:
            verdict.quarantined[kept[key]] += 1
        elif key in produced.lost:
            verdict.lost[produced.lost[key]] += 1
        else:
            vanished.append(key)
    verdict.vanished = len(vanished)
    _complain(verdict, "vanished: neither stored nor in quarantine nor given up by the device", vanished)
    await connection.execute("drop table produced")
    return verdict


def _complain(verdict: Verdict, complaint: str, keys: list[Key]) -> None:
    if keys:
        names = ", ".join(f"{device} boot {boot} seq {seq}" for device, boot, seq in sorted(keys)[:NAMED])
        verdict.complaints.append(f"{len(keys)} {complaint}: {names}{', …' if len(keys) > NAMED else ''}")


async def _layout(connection: asyncpg.Connection, channels: tuple[str, ...]) -> tuple[int, npt.NDArray[np.int64]]:
    """The layout of exactly these channels, and for each of its slots the position in `channels`."""
    rows = await connection.fetch(
        """select l.layout_id, array(select c.name from unnest(l.channel_ids) with ordinality u (channel_id, n)
                                      join channels c using (channel_id) order by n) as names from layouts l"""
    )
    for row in rows:
        if sorted(row["names"]) == sorted(channels):
            return row["layout_id"], np.array([channels.index(name) for name in row["names"]])
    return -1, np.arange(len(channels))


async def _load(connection: asyncpg.Connection, produced: Produced, channels: tuple[str, ...]) -> None:
    """Load the frames of the devices that send exactly these channels."""
    layout_id, order = await _layout(connection, channels)
    columns = np.array([produced.channels.index(channels[place]) for place in order])
    those = np.flatnonzero([produced.sent[name] == channels for name in produced.devices])
    here = np.flatnonzero(np.isin(produced.device, those))
    ids = {row["name"]: row["device_id"] for row in await connection.fetch("select name, device_id from devices")}
    device_ids = np.array([ids[name] for name in produced.devices])[produced.device]
    layouts = np.full(len(produced), layout_id)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
        for first in range(0, len(here), PIECE):
            part = here[first : first + PIECE]
            yield _rows(
                device_ids[part], layouts[part], produced.boot[part], produced.seq[part],
                produced.time_us[part] - SINCE_2000_US,
                produced.values[part][:, columns], produced.quality[part][:, columns],
            )  # fmt: skip
        yield b"\xff\xff"

    await connection.copy_to_table("produced", source=pieces(), format="binary")


def _rows(*columns: npt.NDArray[np.generic]) -> bytes:
    """Binary COPY of whole numbers and of arrays, as one NumPy record a row."""
    fields: list[tuple[str, object]] = [("columns", ">i2")]
    constants: dict[str, int] = {"columns": len(columns)}
    content: dict[str, npt.NDArray[np.generic]] = {}
    for n, (column, type_) in enumerate(zip(columns, (">i4", ">i4", ">i8", ">i8", ">i8", ">f8", ">i2"), strict=True)):
        size = np.dtype(type_).itemsize
        if column.ndim == 1:
            fields += [(f"size{n}", ">i4"), (f"value{n}", type_)]
            constants[f"size{n}"] = size
            content[f"value{n}"] = column
            continue
        width = column.shape[1]
        header = {"size": 20 + width * (4 + size), "dimensions": 1, "nulls": 0, "type": 701 if size == 8 else 21}
        header |= {"length": width, "first": 1}
        fields += [(f"{name}{n}", ">i4") for name in header]
        fields.append((f"value{n}", [("size", ">i4"), ("value", type_)], (width,)))  # type: ignore[arg-type]
        constants |= {f"{name}{n}": value for name, value in header.items()}
        content[f"value{n}"] = column
    rows = np.zeros(len(columns[0]), dtype=np.dtype(fields))
    for name, value in constants.items():
        rows[name] = value
    for name, values in content.items():
        if values.ndim == 1:
            rows[name] = values
        else:
            rows[name]["size"] = 8 if values.dtype.itemsize == 8 else 2
            rows[name]["value"] = values
    return rows.tobytes()


async def quarantined_frames(connection: asyncpg.Connection) -> dict[Key, str]:
    """The frames of readable messages in quarantine, with the reason."""
    kept = {}
    for row in await connection.fetch(
        "select device, reason, payload from quarantine where topic like '%/telemetry' or topic like '%/history'"
    ):
        try:
            message = msgpack.unpackb(row["payload"])
            count = len(message["v"]) if "ch" in message else 1
            for seq in range(message["seq"], message["seq"] + count):
                kept[row["device"], message["boot"], seq] = row["reason"]
        except Exception:  # poison, which is what quarantine is for
            continue
    return kept


def expected_quality(values: npt.NDArray[np.float64], said: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Quality as the contract has it: what the device said, and bad for a value that is missing without a word."""
    return np.where(np.isnan(values) & (said == 0), np.int16(BAD), said).astype(np.int16)


async def check_totals(connection: asyncpg.Connection) -> list[str]:
    """`intake_totals` says exactly how many rows there are: both were made by the same transactions."""
    row = await connection.fetchrow(
        """select (select count(*) from frames) as frames,
                  (select sum(committed)::bigint from intake_totals where kind = 'frame') as committed"""
    )
    if row["frames"] == row["committed"]:
        return []
    return [f"{row['frames']} rows in frames, but intake_totals counts {row['committed']} committed"]
