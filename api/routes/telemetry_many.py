"""The route for samples of one or many devices, in all modes, by address or by a body for long lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http import answers, cursors, description
from api.http.bodies import MOST_BYTES, body, described, order
from api.http.parameters import listed
from api.problems import BadParameter, TooMuch
from api.queries import latest as latest_queries
from api.queries import (
    latest_computed,
    run_times,
    selection,
    telemetry_at,
    telemetry_buckets,
    telemetry_plot,
    telemetry_raw,
)
from api.queries.deadline import Deadline
from api.queries.selected_times import edges_warnings, hours_since, is_future, until, whole_range
from api.queries.selection import Selected, Selection
from api.queries.shown_units import ShownUnits
from api.queries.telemetry_buckets import AGGREGATES, BucketRows, BucketWish, texts
from api.queries.telemetry_columns import Columns, columns
from api.queries.telemetry_raw import Position, RawWish
from api.routes import Router
from api.routes.telemetry import MOST_ROWS, MOST_VALUES, STREAMED_VALUES, USUAL_ROWS, title, told_apart
from api.series.grid import Division
from api.series.plot import METHOD
from api.shapes import telemetry_many as shapes
from api.shapes.telemetry_many import (
    DeviceTime,
    Mode,
    NewestSample,
    TelemetryAddress,
    TelemetryQuestion,
    TelemetryRead,
)
from schema import times

READ = allow(Role.VIEWER, Scope.TELEMETRY_READ)
router = Router("telemetry", READ)
SUMMARY = "Samples of one or many devices: raw, in buckets, at given times, for a plot, or the newest"
WORDS = (
    "Devices by name, pattern, tag and location; channels by name or pattern; a time, or a phase. docs/telemetry.md "
    "says what modes and aggregates mean. A question whose answer would be too large is refused, with a `bucket` that "
    "fits."
)
RESPONSES = description.DEVICE | description.ok(
    shapes.TelemetryRead,
    csv="device,time,ph [pH] avg\r\nbr-1,2026-11-20T07:00:00.000000Z,7.021\r\n",
    buckets=shapes.MANY_BUCKETS,
    plot=shapes.PLOT,
)
LONG_HEADER = ("device", "channel", "unit", "time", "value", "quality")


@router.table("/telemetry", summary=SUMMARY, description=WORDS, responses=RESPONSES)
async def read(request: Request, database: Db, asked: Annotated[TelemetryAddress, Query()]) -> Response:
    return await _answered(request, database, asked, None)


@router.post(
    "/telemetry",
    summary=f"{SUMMARY}; for long lists",
    description=f"The parameters are the fields of the body. {WORDS}",
    responses=RESPONSES | description.TOO_LARGE,
    openapi_extra=described(TelemetryQuestion),
)
async def read_by_body(request: Request, database: Db) -> Response:
    content = await body(request, MOST_BYTES)
    return await _answered(request, database, await order(request, TelemetryQuestion, content), content)


async def _answered(request: Request, database: Database, asked: TelemetryQuestion, content: bytes | None) -> Response:
    reading = Reading(request, database, asked, content)
    return await reading.answer()


class Reading:
    """One request, from what was asked to its answer."""

    def __init__(self, request: Request, database: Database, asked: TelemetryQuestion, content: bytes | None) -> None:
        self._request, self._database, self._asked, self._content = request, database, asked, content
        self._mode: Mode = asked.chosen_mode()
        self._format = answers.chosen(request, asked.format)
        self._deadline = Deadline()
        self._selected: Selected | None = None

    async def answer(self) -> Response:
        self._asked, self._run = await run_times.placed_selection(self._database, self._asked)
        if self._asked.hours and (self._run is None or self._format == "csv"):
            raise BadParameter("hours", "are those of a run, named by `run`, and stand in JSON alone")
        makers = {
            "raw": self._raw,
            "buckets": self._buckets,
            "at": self._at,
            "plot": self._plot,
            "latest": self._latest,
        }
        answer = await makers[self._mode]()
        if self._format == "csv" and self._selected is not None:
            numbers = [one.correction for one in self._selected.corrections]
            answers.with_corrections(answer, self._selected.applied == "applied", numbers)
        return answer

    # -- raw

    async def _raw(self) -> Response:
        asked, after = self._asked, None
        if asked.cursor is not None:
            kinds = (cursors.instant, cursors.instant, cursors.device, cursors.instant, cursors.small)
            begin, end, *key = cursors.decode(self._request, asked.cursor, *kinds, body=self._content)
            after = Position(*key)
        else:
            span = selection.asked_time(asked)  # of all pages
            begin, end = span.begin, span.end
        placed = asked.as_sent().model_copy(update={"from_": begin, "to": end})
        selected = self._selected = await selection.resolve(self._database, placed)
        table = columns(selected.selections, [None])
        within = asked.max_age if asked.bounds == "outside" else None
        if self._format == "csv" and asked.limit is None and asked.cursor is None:
            size = max(1, STREAMED_VALUES // max(1, len(table.columns)))
            pages = telemetry_raw.pages(self._database, selected.selections, RawWish(size, within))
            return await answers.csv_stream(self._request, self._raw_header(table), self._raw_pages(table, pages))
        wish = RawWish(self._limit(len(table.columns)), within, self._deadline)
        page, following = await telemetry_raw.page(self._database, selected.selections, after, wish)
        cursor = None
        if following is not None:
            cursor = cursors.encode(self._request, begin, end, *following, body=self._content)
        if self._format == "csv":
            if self._content is not None:
                raise BadParameter("limit", "CSV by POST is not cut into pages: leave limit and cursor out")
            cells = (self._raw_cells(table, row) for row in page)
            return answers.csv_page(self._request, self._raw_header(table), cells, cursor)
        rows = [[row.device, times.text(row.time), *table.spread(row.number, row.values)] for row in page]
        qualities = [table.spread(row.number, row.qualities) for row in page] if asked.quality == "all" else None
        originals = None
        if selected.applied == "applied" and selected.corrections:
            originals = [table.spread(row.number, row.originals or [None] * len(row.values)) for row in page]
        return self._json(
            selected,
            columns=table.columns,
            rows=rows,
            qualities=qualities,
            originals=originals,
            truncated=cursor is not None,
            next=cursor,
            warnings=await self._silence(selected, rows or after),
        )

    def _limit(self, width: int) -> int:
        most = min(MOST_ROWS, MOST_VALUES // max(1, width))
        if self._asked.limit is not None and self._asked.limit > most:
            raise TooMuch(f"limit: at most {most} rows of {width} channels fit on a page", limit=most)
        return self._asked.limit or min(USUAL_ROWS, most)

    def _raw_header(self, table: Columns) -> list[str]:
        header = ["device", "time"]
        for column in table.columns:
            header.append(title(column.channel, column.unit))
            if self._asked.quality == "all":
                header.append(f"{column.channel} quality")
        return told_apart(header)

    async def _raw_pages(
        self, table: Columns, pages: AsyncIterator[list[telemetry_raw.DeviceRow]]
    ) -> AsyncIterator[Iterator[list[Any]]]:
        async for page in pages:
            yield (self._raw_cells(table, row) for row in page)

    def _raw_cells(self, table: Columns, row: telemetry_raw.DeviceRow) -> list[Any]:
        cells = table.spread(row.number, row.values)
        if self._asked.quality == "all":
            marks = table.spread(row.number, row.qualities)
            cells = [cell for pair in zip(cells, marks, strict=True) for cell in pair]
        return [row.device, times.text(row.time), *cells]

    # -- buckets

    async def _buckets(self) -> Response:
        selected = self._selected = await selection.resolve(self._database, self._asked)
        wish = self._wish(selected)
        table = columns(selected.selections, wish.aggregates)
        if self._format == "csv" and wish.fill is None:
            pages = self._bucket_slices(selected, wish, table)
            return await answers.csv_stream(self._request, self._bucket_header(table), pages)
        self._check_size(selected, wish, len(table.columns))
        rows: list[list[Any]] = []
        for number, one in enumerate(selected.selections):
            found = await telemetry_buckets.whole(self._database, one, wish, self._deadline)
            rows += self._bucket_rows(table, number, one.device.name, found)
        if self._format == "csv":
            return answers.csv_page(self._request, self._bucket_header(table), rows)
        fill = None if wish.fill is None else f"{wish.fill}, at most {wish.fill_limit} in a row"
        return self._json(
            selected,
            bucket=wish.division.text,
            fill=fill,
            columns=table.columns,
            rows=rows,
            warnings=[*edges_warnings(selected, wish.division), *await self._silence(selected, rows)],
        )

    def _wish(self, selected: Selected) -> BucketWish:
        asked = self._asked
        names = tuple(dict.fromkeys(listed([], asked.aggregate))) or ("avg", "min", "max")
        for name in names:
            if name not in AGGREGATES:
                raise BadParameter("aggregate", f"there is no {name}; there are {', '.join(AGGREGATES)}")
        division = Division(asked.bucket or self._chosen_width(selected), asked.tz, asked.origin)
        if "tz" in asked.model_fields_set and isinstance(division.width, timedelta):
            raise BadParameter("tz", "is for buckets of day, week and month; others are counted from `origin`")
        try:
            division.grid(selected.selections[0].begin, selected.selections[0].begin + times.MICROSECOND)
        except ValueError as error:
            raise BadParameter("origin", str(error)) from error
        fill_limit = asked.fill_limit or shapes.USUAL_FILL
        return BucketWish(division, names, asked.gap, asked.empty == "null", asked.fill, fill_limit)

    def _chosen_width(self, selected: Selected) -> timedelta:
        assert self._asked.max_points is not None
        begin, end = whole_range(selected)
        found = times.fitting_bucket(begin, end, self._asked.max_points)
        if found is None:
            raise TooMuch("no round width is wide enough: ask for a shorter time, or for more max_points")
        return times.parse_duration(found)

    def _check_size(self, selected: Selected, wish: BucketWish, width: int) -> None:
        """Raise TooMuch, with a bucket that fits, if the answer might have too many values."""
        count = sum(wish.division.count(one.begin, one.end) for one in selected.selections)
        if count * max(1, width) <= MOST_VALUES:
            return
        begin, end = whole_range(selected)
        most = MOST_VALUES // max(1, width) // len(selected.selections)
        bucket = times.fitting_bucket(begin, end, most)
        advice = f"use bucket={bucket}" if bucket else "ask for a shorter time"
        raise TooMuch(
            f"{count} buckets of {width} values are too many for one answer: {advice}, fewer channels or devices, or"
            " CSV, which has no bound",
            bucket=bucket,
        )

    async def _bucket_slices(
        self, selected: Selected, wish: BucketWish, table: Columns
    ) -> AsyncIterator[list[list[Any]]]:
        for number, one in enumerate(selected.selections):
            async for found in telemetry_buckets.slices(self._database, one, wish):
                yield self._bucket_rows(table, number, one.device.name, found)

    @staticmethod
    def _bucket_rows(table: Columns, number: int, device: str, found: BucketRows) -> list[list[Any]]:
        cells = [some.tolist() for some in found.cells]
        spread = table.spread(number, cells)
        filled = [[None] * len(found.times) if some is None else some for some in spread]
        return [[device, *row] for row in zip(texts(found.times), *filled, strict=True)]

    @staticmethod
    def _bucket_header(table: Columns) -> list[str]:
        said = (f"{title(one.channel, one.unit)} {one.aggregate}" for one in table.columns)
        return told_apart(["device", "time", *said])

    # -- at, plot, latest

    async def _at(self) -> Response:
        asked, instants = self._asked, self._asked.instants(self._run)
        time = times.Span(min(instants) - asked.max_age, max(instants) + asked.max_age + times.MICROSECOND)
        placed = asked.model_copy(update={"from_": time.begin, "to": time.end})
        selected = self._selected = await selection.resolve(self._database, placed)
        table = columns(selected.selections, [None])
        count = len(instants) * len(selected.selections) * max(1, len(table.columns))
        if count > MOST_VALUES:
            raise TooMuch(f"{count} values are too many for one answer: give fewer instants, channels or devices")
        wish = telemetry_at.AtWish(instants, asked.max_age, asked.method, self._deadline)
        rows, qualities = [], []
        for number, one in enumerate(selected.selections):
            found = await telemetry_at.values(self._database, one, wish)
            for instant, row in zip(instants, found, strict=True):
                rows.append([one.device.name, times.text(instant), *table.spread(number, [it.value for it in row])])
                qualities.append(table.spread(number, [it.quality for it in row]))
        if self._format == "csv":
            return answers.csv_page(self._request, self._raw_header(table), self._with_qualities(rows, qualities))
        said = qualities if asked.quality == "all" else None
        return self._json(selected, method=asked.method, columns=table.columns, rows=rows, qualities=said)

    def _with_qualities(self, rows: list[list[Any]], qualities: list[list[Any]]) -> Iterator[list[Any]]:
        for row, marks in zip(rows, qualities, strict=True):
            if self._asked.quality == "all":
                yield [*row[:2], *(cell for pair in zip(row[2:], marks, strict=True) for cell in pair)]
            else:
                yield row

    async def _plot(self) -> Response:
        asked = self._asked
        selected = self._selected = await selection.resolve(self._database, asked)
        points = asked.max_points or shapes.USUAL_POINTS
        count = points * sum(len(one.channels) for one in selected.selections) * 2
        if count > MOST_VALUES:
            raise TooMuch(f"{count} values are too many for one answer: give fewer max_points, channels or devices")
        within = asked.max_age if asked.bounds == "outside" else None
        wish = telemetry_plot.PlotWish(points, asked.gap, within)
        lines: list[telemetry_plot.Line] = []
        for one in selected.selections:
            lines += await telemetry_plot.lines(self._database, one, wish, self._deadline)
        if self._format == "csv":
            return answers.csv_page(self._request, LONG_HEADER, telemetry_plot.long_rows(lines))
        warnings = await self._silence(selected, any(len(line.points.times) for line in lines))
        found = [telemetry_plot.series(line) for line in lines]
        return self._json(selected, method=METHOD, series=found, warnings=warnings)

    async def _latest(self) -> Response:
        asked = self._asked
        selected = self._selected = await selection.resolve(self._database, asked)
        names = {one.device.name: {channel.name for channel in one.channels} for one in selected.selections}
        wanted = latest_queries.WantedLatest(asked.max_age, frozenset().union(*names.values()), asked.quality == "all")
        devices = [(one.device.device_id, one.device.name) for one in selected.selections]
        units = ShownUnits(asked.unit)
        newest: list[NewestSample] = []
        looked_at: list[Selection] = []
        found = await latest_queries.of_devices(self._database, devices, wanted)
        for item, one in zip(found, selected.selections, strict=True):
            made = await latest_computed.values(self._database, one, item.time, asked.max_age, self._deadline)
            by_name = {it.channel: it for it in sorted(made, key=lambda it: it.time or "")}
            values = [by_name.pop(it.channel, it) for it in item.values]
            computed = {it.name for it in one.channels if it.computed is not None}
            newest += [
                NewestSample(item.device, it.channel, it.unit, it.channel in computed, it.time, it.value, it.quality)
                for it in units.latest([*values, *by_name.values()])
                if it.channel in names[item.device]
            ]
            looked_at.append(until(one, item.time, asked.max_age))
        units.check()
        selected = self._selected = replace(selected, selections=tuple(looked_at))
        if self._format == "csv":
            rows = ([it.device, it.channel, it.unit, it.time, it.value, it.quality] for it in newest)
            return answers.csv_page(self._request, LONG_HEADER, rows)
        return self._json(selected, latest=newest)

    async def _silence(self, selected: Selected, found: object) -> list[str]:
        """Return when the devices have sent, if nothing was found and nobody said where to look."""
        asked = self._asked
        given = asked.from_ or asked.to or asked.phase
        return [] if found or given else await selection.silence(self._database, selected)

    def _hours(self, rows: Sequence[Sequence[Any]]) -> list[float] | None:
        if not self._asked.hours or self._run is None:
            return None
        return [hours_since(self._run.begin, row) for row in rows]

    def _json(self, selected: Selected, *, warnings: Sequence[str] = (), **given: Any) -> Response:
        asked = self._asked
        ranged = self._mode in shapes.RANGED
        usual: dict[str, Any] = {"method": None, "bucket": None, "fill": None, "columns": [], "rows": []}
        usual |= {"qualities": None, "originals": None, "series": [], "latest": [], "truncated": False, "next": None}
        late = ["`to` is in the future: more may come"] if ranged and is_future(selected) else []
        return answers.json(
            TelemetryRead(
                mode=self._mode,
                devices=[
                    DeviceTime(device=one.device.name, from_=times.text(one.begin), to=times.text(one.end))
                    for one in (selected.selections if ranged else ())
                ],
                since=None if self._run is None else times.text(self._run.begin),
                hours=self._hours(given.get("rows", ())),
                tz=asked.tz.key,
                quality=asked.quality,
                corrections=selected.applied,
                corrected=selected.corrections,
                as_of=selected.as_of,
                bounds=asked.bounds,
                warnings=[*selected.warnings, *late, *warnings],
                **(usual | given),
            )
        )
