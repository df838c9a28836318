"""The route for samples of a device over time: raw, page by page, or in buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import answers, cursors, description
from api.http.parameters import (
    AsOf,
    CorrectionsAsked,
    Cursor,
    DeviceName,
    Duration,
    Parameters,
    Quality,
    UnitsAsked,
    known,
    listed,
    nearest,
    recent,
)
from api.http.run_times import Moment, PhaseOfRun, RunAsked, instant
from api.problems import BadParameter, TooMuch
from api.queries import devices, run_times, selection, telemetry_buckets
from api.queries import telemetry as queries
from api.queries.deadline import Deadline
from api.queries.devices import Channel, DeviceChannels
from api.queries.selection import Selection
from api.queries.shown_units import ShownUnits
from api.queries.telemetry import Row
from api.queries.telemetry_buckets import AGGREGATES, BucketRows, BucketWish, texts, unit
from api.routes import Router
from api.series.grid import Division
from api.shapes import telemetry as shapes
from schema import times

READ = allow(Role.VIEWER, Scope.TELEMETRY_READ)
router = Router("telemetry", READ)

USUAL_ROWS, MOST_ROWS = 10_000, 20_000
MOST_VALUES = 300_000
"""The most values of an answer: bounds its memory, and how long encoding it delays other requests (0.2 s)."""
STREAMED_VALUES = 10_000
"""The values in memory at a time when an answer is streamed."""


class TelemetryParameters(Parameters):
    channel: list[str] = Field(
        [], description="channel name, as it is (percent-encoded); may be repeated. None: all channels of the device"
    )
    channels: list[str] = Field([], description="channel names with commas between (none with a comma in it)")
    run: RunAsked = None
    phase: PhaseOfRun = None
    from_: Moment | None = Field(
        None,
        alias="from",
        description="first instant; default one hour before `to`, or the start of `run`",
    )
    to: Moment | None = Field(None, description="end, not part of the range; default now, or the end of `run`")
    bucket: Duration | None = Field(
        None, description="width of the buckets, like 1s, 10s, 1m, 5m, 1h, 1d; counted in UTC. None: raw samples"
    )
    aggregate: list[str] = Field(
        [], description=f"of each bucket: {', '.join(AGGREGATES)}; repeated or with commas. None: avg, min, max"
    )
    unit: UnitsAsked = Field([])
    quality: Quality = "good"
    corrections: CorrectionsAsked = None
    as_of: AsOf = None
    limit: int | None = Field(
        None,
        ge=1,
        description=f"raw: most rows on a page, {USUAL_ROWS} if not given, up to {MOST_ROWS} and {MOST_VALUES} values. "
        "CSV without limit and cursor is not cut into pages",
    )
    cursor: Cursor = None


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins: the range, the key of the row before, and the position of the newest layout known then."""

    begin: datetime
    end: datetime
    time: datetime
    layout_id: int
    position: int | None


@router.table(
    "/devices/{device}/telemetry",
    summary="Samples of a device, raw or in buckets",
    description="Raw: one row a frame in order of time, in pages; `next` leads to the following one, and what is "
    "stored meanwhile neither repeats nor hides a row. With `bucket`: one row a bucket, all in one answer; if that "
    "would be too large, the problem document names a `bucket` that fits. CSV (`Accept: text/csv`, `format=csv` or "
    "`telemetry.csv`) is streamed and has no bound.",
    responses=description.DEVICE
    | description.ok(
        shapes.TelemetryAnswer,
        csv="time,ph [pH],temperature [°C]\r\n2026-11-20T07:45:00.000000Z,7.02,36.9\r\n",
        raw=shapes.TELEMETRY,
        buckets=shapes.BUCKETS,
    ),
)
async def samples(
    request: Request, database: Db, device: DeviceName, asked: Annotated[TelemetryParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    aggregates = _aggregates(asked)
    start = await _start(request, database, asked, device)
    found = await devices.device(database, device, known(asked.as_of))
    units = ShownUnits(asked.unit)
    names, span = listed(asked.channel, asked.channels), times.Span(start.begin, start.end)
    computed = await selection.with_named(database, [found], names, span)
    [found] = computed.devices
    channels = units.of(_channels(found, names, start.position, computed.lacking), span)
    units.check()
    corrected = (asked.corrections or ("none" if asked.bucket is None else "applied")) == "applied"
    wanted = Selection(found, channels, start.begin, start.end, asked.quality == "all", corrected, asked.as_of)
    if asked.bucket is not None:
        wish = BucketWish(Division(asked.bucket), tuple(aggregates))
        if format_ == "csv":
            return _told(wanted, await _csv_buckets(request, database, wanted, wish))
        return await _json_buckets(database, wanted, wish)
    if format_ == "csv" and asked.limit is None and asked.cursor is None:
        pages = _raw_pages(database, wanted, max(1, STREAMED_VALUES // max(1, len(channels))))
        return _told(wanted, await answers.csv_stream(request, _raw_header(wanted), pages))
    limit = _limit(wanted, asked.limit)
    rows = await queries.raw(database, wanted, (start.time, start.layout_id), limit + 1, Deadline())
    page, following = rows[:limit], None
    if len(rows) > limit:
        position = found.position if start.position is None else start.position
        following = cursors.encode(request, start.begin, start.end, page[-1].time, page[-1].layout_id, position)
    if format_ == "csv":
        cells = _raw_cells(page, wanted.everything)
        return _told(wanted, answers.csv_page(request, _raw_header(wanted), cells, following))
    content = [[times.text(row.time), *row.values] for row in page]
    qualities = [row.qualities for row in page] if wanted.everything else None
    originals = None if any(row.originals is None for row in page) else [row.originals or [] for row in page]
    return _json(
        wanted,
        None,
        [_column(channel, None) for channel in channels],
        content,
        qualities=qualities,
        originals=originals,
        following=following,
    )


def _told(wanted: Selection, answer: Response) -> Response:
    return answers.with_corrections(answer, wanted.corrected, [one.correction for one in wanted.corrected_times])


def _aggregates(asked: TelemetryParameters) -> list[str]:
    names = list(dict.fromkeys(listed([], asked.aggregate)))
    if asked.bucket is None and names:
        raise BadParameter("aggregate", "needs buckets: add bucket=, like bucket=1m")
    if asked.bucket is not None and (asked.limit is not None or asked.cursor is not None):
        raise BadParameter("limit", "buckets come in one answer: leave limit and cursor out")
    for name in names:
        if name not in AGGREGATES:
            raise BadParameter("aggregate", f"there is no {name}; there are {', '.join(AGGREGATES)}")
    return names or ["avg", "min", "max"]


async def _start(request: Request, database: Database, asked: TelemetryParameters, device: str) -> Start:
    if asked.cursor is not None:
        kinds = (cursors.instant, cursors.instant, cursors.instant, cursors.small, cursors.small)
        return Start(*cursors.decode(request, asked.cursor, *kinds))
    span = await run_times.placed_span(database, asked, [device])
    span = span or recent(instant("from", asked.from_), instant("to", asked.to), timedelta(hours=1))
    return Start(span.begin, span.end, span.begin, 0, None)


def _channels(
    device: DeviceChannels, names: list[str], position: int | None, lacking: Mapping[str, str]
) -> tuple[Channel, ...]:
    """Return the channels named, in that order, or all; on a later page all that existed on the first."""
    if not names:
        return tuple(c for c in device.channels if position is None or c.since <= position)
    known = {channel.name: channel for channel in device.channels}
    for name in names:
        if name in lacking and name not in known:
            raise BadParameter("channel", lacking[name])
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near}?" if near else f"/api/v1/devices/{device.name}/channels lists its channels"
            raise BadParameter("channel", f"{device.name} has never sent {name!r}; {meant}")
        if names.count(name) > 1:
            raise BadParameter("channel", f"{name!r} is named twice")
    return tuple(known[name] for name in names)


def _limit(wanted: Selection, asked: int | None) -> int:
    """Return the number of rows on a page: as many as asked for, if they fit. Raises TooMuch."""
    width = max(1, len(wanted.channels))
    most = min(MOST_ROWS, MOST_VALUES // width)
    if asked is not None and asked > most:
        raise _too_much(wanted, most, f"limit: at most {most} rows of {width} channels fit on a page", limit=most)
    return asked or min(USUAL_ROWS, most)


async def _raw_pages(database: Database, wanted: Selection, size: int) -> AsyncIterator[Iterator[list[Any]]]:
    """Yield pages by key to the end: no connection and no snapshot is held while a slow client reads."""
    after = (wanted.begin, 0)
    while True:
        rows = await queries.raw(database, wanted, after, size)
        yield _raw_cells(rows, wanted.everything)
        if len(rows) < size:
            return
        after = (rows[-1].time, rows[-1].layout_id)


def _raw_header(wanted: Selection) -> list[str]:
    header = ["time"]
    for channel in wanted.channels:
        header.append(title(channel.name, channel.unit))
        if wanted.everything:
            header.append(f"{channel.name} quality")
    return told_apart(header)


def told_apart(header: Sequence[str]) -> list[str]:
    """The titles of columns, of which equal ones are numbered: a channel may be called `time`, or `ph quality`."""
    seen: Counter[str] = Counter()
    told = []
    for one in header:
        seen[one] += 1
        told.append(one if seen[one] == 1 else f"{one} ({seen[one]})")
    return told


def _raw_cells(rows: Sequence[Row], with_quality: bool) -> Iterator[list[Any]]:
    for row in rows:
        cells: list[Any] = row.values
        if with_quality:
            cells = [cell for pair in zip(row.values, row.qualities, strict=True) for cell in pair]
        yield [times.text(row.time), *cells]


async def _json_buckets(database: Database, wanted: Selection, wish: BucketWish) -> Response:
    columns = _bucket_columns(wanted, wish.aggregates)
    most = MOST_VALUES // max(1, len(columns))
    count = wish.division.count(wanted.begin, wanted.end)
    if count > most:
        raise _too_much(wanted, most, f"{count} buckets of {len(columns)} values are too many for one answer")
    found = await telemetry_buckets.whole(database, wanted, wish, Deadline())
    return _json(wanted, wish.division.length, columns, _bucket_rows(found))


async def _csv_buckets(request: Request, database: Database, wanted: Selection, wish: BucketWish) -> Response:
    columns = _bucket_columns(wanted, wish.aggregates)
    header = told_apart(["time", *(f"{title(one.channel, one.unit)} {one.aggregate}" for one in columns)])
    parts = telemetry_buckets.slices(database, wanted, wish)
    return await answers.csv_stream(request, header, (_bucket_rows(part) async for part in parts))


def _bucket_rows(found: BucketRows) -> list[list[Any]]:
    return [list(row) for row in zip(texts(found.times), *(cells.tolist() for cells in found.cells), strict=True)]


def _bucket_columns(wanted: Selection, aggregates: Sequence[str]) -> list[shapes.Column]:
    return [_column(channel, name) for channel in wanted.channels for name in aggregates]


def _column(channel: Channel, aggregate: str | None) -> shapes.Column:
    said = channel.unit if aggregate is None else unit(channel, aggregate)
    return shapes.Column(channel.name, said, aggregate, channel.computed is not None)


def _json(
    wanted: Selection,
    width: timedelta | None,
    columns: list[shapes.Column],
    rows: list[list[Any]],
    *,
    qualities: list[list[int | None]] | None = None,
    originals: list[list[shapes.Original | None]] | None = None,
    following: str | None = None,
) -> Response:
    return answers.json(
        shapes.TelemetryAnswer(
            device=wanted.device.name,
            from_=times.text(wanted.begin),
            to=times.text(wanted.end),
            bucket=None if width is None else times.duration_text(width),
            quality="all" if wanted.everything else "good",
            corrections="applied" if wanted.corrected else "none",
            corrected=wanted.corrected_times,
            as_of=times.optional_text(wanted.as_of),
            columns=columns,
            rows=rows,
            qualities=qualities,
            originals=originals,
            truncated=following is not None,
            next=following,
            warnings=_warnings(wanted, width),
        )
    )


def _warnings(wanted: Selection, width: timedelta | None) -> list[str]:
    found = []
    if wanted.end > datetime.now(UTC):
        found.append("`to` is in the future: more may come")
    if width is not None and times.floor(wanted.begin, width) != wanted.begin:
        found.append("`from` is inside a bucket: the first bucket holds only what came from then on")
    if width is not None and times.floor(wanted.end, width) != wanted.end:
        found.append("`to` is inside a bucket: the last bucket holds only what came before")
    notes = (note for channel in wanted.channels for note in channel.notes)
    return [*found, *dict.fromkeys(notes), *wanted.correction_notes]


def title(channel: str, unit: str | None) -> str:
    """The title of a column: the channel, and its unit if that is known."""
    return channel if unit is None else f"{channel} [{unit}]"


def _too_much(wanted: Selection, most: int, detail: str, **members: Any) -> TooMuch:
    bucket = times.fitting_bucket(wanted.begin, wanted.end, most)
    advice = f"use bucket={bucket}" if bucket else "ask for a shorter time"
    return TooMuch(f"{detail}: {advice}, fewer channels, or CSV, which has no bound", bucket=bucket, **members)
