"""Samples of one or many devices: what is asked, and the answer with examples."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, WithJsonSchema

from api.http.description import Answer, Following, Truncated, about, example
from api.http.parameters import Applied, ByAddress, Cursor, Duration, Instant, Parameters
from api.http.run_times import Offset, instant, parse_moment
from api.problems import BadParameter
from api.series.filling import Fill
from api.series.grid import UNITS, UTC_ZONE, CalendarUnit, parse_width
from api.shapes.corrections import CorrectedTime
from api.shapes.selection import SelectionParameters
from api.shapes.telemetry import Original
from schema import times

Mode: TypeAlias = Literal["raw", "buckets", "at", "plot", "latest"]
MOST_POINTS, USUAL_POINTS = 20_000, 2_000
MOST_INSTANTS = 1_000
USUAL_FILL = 10
RANGED: frozenset[Mode] = frozenset({"raw", "buckets", "plot"})
PARAMETERS_OF: dict[str, frozenset[Mode]] = {
    **dict.fromkeys(("from_", "to", "phase"), RANGED),
    **dict.fromkeys(
        ("bucket", "tz", "origin", "aggregate", "empty", "fill", "fill_limit"), frozenset[Mode]({"buckets"})
    ),
    **dict.fromkeys(("at", "method"), frozenset[Mode]({"at"})),
    "hours": frozenset({"raw", "buckets", "at"}),
    **dict.fromkeys(("limit", "cursor"), frozenset[Mode]({"raw"})),
    "max_points": frozenset({"buckets", "plot"}),
    "gap": frozenset({"buckets", "plot"}),
    "as_of": frozenset({"raw", "buckets", "at", "plot"}),
    "bounds": frozenset({"raw", "plot"}),
    "max_age": frozenset({"at", "latest", "raw", "plot"}),
}
"""Which parameters are for some modes alone; the others are for all."""


def _zone(given: object) -> ZoneInfo:
    try:
        return ZoneInfo(given)  # type: ignore[arg-type]
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError("give a zone of the IANA list, like UTC or Europe/Berlin") from None


Zone = Annotated[
    ZoneInfo, BeforeValidator(_zone), WithJsonSchema({"type": "string", "examples": ["UTC", "Europe/Berlin"]})
]
Width = Annotated[
    timedelta | CalendarUnit,
    BeforeValidator(parse_width),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^([0-9]{{1,9}}(ms|s|m|h|d|w)|{'|'.join(UNITS)})$",
            "examples": ["1m", "1h", "day", "month"],
        }
    ),
]


class TelemetryQuestion(SelectionParameters, Parameters):
    mode: Mode | None = Field(
        None,
        description="raw, buckets, at, plot or latest: docs/telemetry.md says what each means. Without it: at with "
        "`at`, buckets with `bucket` or `aggregate`, else raw",
    )
    bucket: Width | None = Field(
        None,
        description="buckets: their width, like 10s, 1m, 1h, counted in UTC from `origin`; or day, week, month by the "
        "clocks of `tz`",
    )
    max_points: int | None = Field(
        None,
        ge=4,
        le=MOST_POINTS,
        description="buckets: choose the narrowest round width with at most so many, and name it. plot: most points "
        f"of a line, beside its gaps; {USUAL_POINTS} if not given",
    )
    tz: Zone = Field(
        UTC_ZONE, description="buckets of day, week or month: the zone of the IANA list whose clocks count"
    )
    origin: Instant | None = Field(
        None, description="buckets: an instant at which one begins; without it round times of UTC, or of `tz`"
    )
    aggregate: list[str] = Field(
        [],
        description="buckets: avg, twa, min, max, first, last, count, sum, stddev, median, integral, percent_good; "
        "repeated or with commas. None: avg, min, max",
    )
    empty: Literal["absent", "null"] = Field("absent", description="buckets: whether those without a sample have a row")
    fill: Fill | None = Field(
        None,
        description="buckets: give empty ones the value before (last), or one on a line between their neighbours "
        "(linear; last for step channels); implies empty=null",
    )
    fill_limit: int | None = Field(
        None,
        ge=1,
        le=1000,
        description=f"buckets: the longest run of empty ones that is filled, {USUAL_FILL} if not given",
    )
    at: list[str] = Field(
        [], max_length=MOST_INSTANTS, description="at: instants like those of `from`, repeated or with commas"
    )
    hours: bool = Field(
        False, description="raw, buckets, at: with `run`, the hours since its start, or that of `phase`, of each row"
    )
    max_age: Duration = Field(
        timedelta(hours=1),
        description="at: how far a sample may be from its instant. latest: how long before a device's newest frame a "
        "channel is looked for. bounds=outside: how far outside a sample may be",
    )
    method: Literal["last", "linear"] = Field(
        "last",
        description="at: the last sample at or before the instant, or the line to the one after it (never of step "
        "channels)",
    )
    gap: Duration | None = Field(
        None,
        description="plot, and twa and integral of buckets: two samples farther apart have nothing between them; "
        "without it three times the usual distance of the channel's samples",
    )
    bounds: Literal["inside", "outside"] = Field(
        "inside", description="raw, plot: outside adds of each channel the sample before the range and the one after it"
    )
    limit: int | None = Field(
        None, ge=1, description="raw: most rows on a page. CSV without limit and cursor is not cut into pages"
    )
    cursor: Cursor = None

    def chosen_mode(self) -> Mode:
        """Return the mode. Raises BadParameter for a parameter that the mode does not have, or lacks."""
        mode: Mode = self.mode or ("at" if self.at else "buckets" if self.bucket or self.aggregate else "raw")
        for name in sorted(self.model_fields_set):
            modes = PARAMETERS_OF.get(name, get_args(Mode))
            if mode not in modes:
                raise BadParameter(name.rstrip("_"), f"is for mode {' or '.join(sorted(modes))}, not for {mode}")
        if mode == "buckets" and (self.bucket is None) == (self.max_points is None):
            raise BadParameter("bucket", "buckets need either a width, like bucket=1m, or max_points")
        return mode

    def instants(self, run: times.Span | None = None) -> list[datetime]:
        """Return the instants of mode at; those that count from the start or end of a run are in `run`. Raises
        BadParameter."""
        given = [one for some in self.at for one in some.split(",") if one]
        if not 0 < len(given) <= MOST_INSTANTS:
            raise BadParameter("at", f"give 1 to {MOST_INSTANTS} instants, like at=2026-11-20T07:45:00Z")
        now = times.parse_instant("now")
        try:
            found = [parse_moment(one, now) for one in given]
        except ValueError as error:
            raise BadParameter("at", str(error)) from error
        if run is None:
            return [one for one in (instant("at", it) for it in found) if one is not None]
        return [one.of(run) if isinstance(one, Offset) else one for one in found]


class TelemetryAddress(ByAddress, TelemetryQuestion):
    """The same in an address, which a link in a page may have."""


class DeviceTime(Answer, rename={"from_": "from"}):
    device: str
    from_: Annotated[str, about("first instant of what was read of this device")]
    to: Annotated[str, about("end of it; not part of it")]


class TelemetryColumn(Answer):
    channel: str
    unit: str | None
    aggregate: Annotated[str | None, about("of a bucket; else null")]
    step: Annotated[bool, about("true: a value holds until the next one and is never interpolated")]
    computed: Annotated[bool, about("true: by a formula, when it is read; docs/computed.md")]


class Series(Answer):
    device: str
    channel: str
    unit: str | None
    step: bool
    computed: bool
    gap: Annotated[str | None, about("the longest distance of two samples that is no gap; null: could not be told")]
    points: Annotated[list[list[str | float | None]], about("time and value; a value of null is a gap: end the line")]
    bad: Annotated[
        list[list[str | float | None]],
        about("the first sample of each pixel that is not good: time, quality, and the value if it had one"),
    ]


class NewestSample(Answer):
    device: str
    channel: str
    unit: str | None
    computed: bool
    time: Annotated[str | None, about("null: no sample within max_age of the device's newest frame")]
    value: float | None
    quality: int | None


class TelemetryRead(Answer):
    mode: Mode
    method: Annotated[str | None, about("plot: m4; at: last or linear; else null")]
    devices: Annotated[list[DeviceTime], about("the devices that were meant, and what time of each")]
    since: Annotated[str | None, about("the start of `run`, or of `phase` in it: hours count from there; else null")]
    tz: Annotated[str, about("whose clocks make buckets of day, week and month; times are UTC all the same")]
    quality: Literal["good", "all"]
    corrections: Annotated[Applied, about("whether those that there are were applied")]
    corrected: Annotated[list[CorrectedTime], about("corrections of these channels in that time, applied or not")]
    as_of: Annotated[str | None, about("what was known then; null: what is known now")]
    bounds: Literal["inside", "outside"]
    bucket: Annotated[str | None, about("width of a bucket, as asked for or as chosen")]
    fill: Annotated[str | None, about("how empty buckets were filled; null: they were not")]
    columns: Annotated[list[TelemetryColumn], about("what stands in a row after device and time")]
    rows: Annotated[
        list[list[str | float | None]],
        about(
            "raw, buckets, at: device, time, then one value a column. Raw: one row a frame; buckets: the time is the "
            "begin, count is 0 and all else null where a channel has no sample"
        ),
    ]
    qualities: Annotated[
        list[list[int | None]] | None,
        about("raw and at with quality=all: for each row one quality a column (null: no sample); else null"),
    ]
    originals: Annotated[
        list[list[Original | None]] | None,
        about(
            "raw with corrections=applied, if there are some: for each row one entry a column, null where the sample "
            "is as it was sent, and in what bounds=outside adds; else null"
        ),
    ]
    hours: Annotated[list[float] | None, about("with hours=true: for each row the hours since `since`; else null")]
    series: Annotated[list[Series], about("plot: a line for each device and channel")]
    latest: Annotated[list[NewestSample], about("latest: one for each device and channel")]
    truncated: Truncated
    next: Following
    warnings: list[str]


_BEGIN = """ "devices": [{"device": "br-1",
  "from": "2026-11-20T07:00:00.000000Z", "to": "2026-11-20T08:00:00.000000Z"}],
 "since": null, "tz": "UTC", "quality": "good", "corrections": "applied", "corrected": [], "as_of": null,
 "bounds": "inside","""
_END = """ "truncated": false, "next": null, "warnings": []}"""
MANY_BUCKETS = example(
    TelemetryRead,
    '{"mode": "buckets", "method": null,'
    + _BEGIN
    + """ "bucket": "30m", "fill": null,
 "columns": [{"channel": "ph", "unit": "pH", "aggregate": "avg", "step": false, "computed": false},
  {"channel": "ph", "unit": "1", "aggregate": "count", "step": false, "computed": false}],
 "rows": [["br-1", "2026-11-20T07:00:00.000000Z", 7.021, 1800], ["br-1", "2026-11-20T07:30:00.000000Z", 7.02, 1799]],
 "qualities": null, "originals": null, "hours": null, "series": [], "latest": [],"""
    + _END,
)
PLOT = example(
    TelemetryRead,
    '{"mode": "plot", "method": "m4",'
    + _BEGIN
    + """ "bucket": null, "fill": null, "columns": [], "rows": [], "qualities": null, "originals": null, "hours": null,
 "series": [{"device": "br-1", "channel": "ph", "unit": "pH", "step": false, "computed": false, "gap": "3s",
  "points": [["2026-11-20T07:00:00.000000Z", 7.02], ["2026-11-20T07:00:04.000000Z", 7.05],
   ["2026-11-20T07:12:10.000000Z", null], ["2026-11-20T07:24:16.000000Z", 7.03]],
  "bad": [["2026-11-20T07:00:02.000000Z", 1, null]]}], "latest": [],"""
    + _END,
)
