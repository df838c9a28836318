"""Runs beside each other: what is asked for, and what is given."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.http.bodies import body_config
from api.http.description import Answer, about, example
from api.http.parameters import Applied, AsOf, CorrectionsAsked, Quality, StrictParameters, UnitsAsked
from api.shapes.corrections import CorrectedTime
from api.shapes.runs import PhaseText, RunPhaseAnswer, RunText
from api.shapes.selection import Name

MOST_RUNS, MOST_CHANNELS = 50, 50
MOST_POINTS = 2_000
LONGEST_HOURS = 24.0 * 400
Hours = Annotated[float, Field(ge=-LONGEST_HOURS, le=LONGEST_HOURS)]
PHASE = "align at the begin of this phase, and read up to its end; without it the whole run from its start"


class Alignment(BaseModel):
    """Channels of runs, on one clock."""

    channel: list[Name] = Field(
        min_length=1, max_length=MOST_CHANNELS, description="channel names, or patterns with `*` and `?`"
    )
    phase: PhaseText | None = Field(None, description=PHASE)
    begin: Hours | None = Field(None, description="first hour on that clock, which may be before 0; without it 0")
    end: Hours | None = Field(None, description="last hour; without it the end of the longest run, or phase")
    max_points: int = Field(MOST_POINTS, ge=4, le=MOST_POINTS, description="most points of a line")
    unit: UnitsAsked = Field([])
    quality: Quality = "good"
    corrections: CorrectionsAsked = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.end is not None and self.end <= (self.begin or 0.0):
            raise ValueError("`end` must be after `begin`")
        return self


class Comparison(Alignment):
    """The body that asks for runs beside each other."""

    model_config = body_config(runs=["B-2026-040", "B-2026-041"], channel=["ph"], phase="feed")

    runs: list[RunText] = Field(min_length=1, max_length=MOST_RUNS)


class EnvelopeQuestion(Alignment):
    """The body that asks for an envelope of reference runs, and how runs compare with it."""

    model_config = body_config(
        references=["B-2026-038", "B-2026-039", "B-2026-040"], runs=["B-2026-041"], channel=["ph"]
    )

    references: list[RunText] = Field(
        min_length=2, max_length=MOST_RUNS, description="the runs that are as they should be"
    )
    runs: list[RunText] = Field([], max_length=MOST_RUNS, description="the runs that are scored")
    k: float = Field(3.0, gt=0, le=10, description="the band is mean ± k standard deviations of the references")
    quantiles: tuple[float, float] | None = Field(
        None, description="instead: the band is between these, like [0.05, 0.95], around the median"
    )
    merge: float = Field(
        0.01,
        ge=0,
        le=0.5,
        description="times outside on the same side with at most this part of the compared time between them are one "
        "excursion; 0: each for itself",
    )
    least: int = Field(2, ge=2, le=MOST_RUNS, description="how many references must have a value at a time to judge it")

    @model_validator(mode="after")
    def _makes_a_band(self) -> Self:
        if self.quantiles is not None and not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise ValueError("quantiles are two of 0 to 1, the lower first")
        if self.least > len(self.references):
            raise ValueError(f"`least` is more than there are references, {len(self.references)}")
        return self


class AlignedSeries(Answer):
    run: str
    device: str
    channel: str
    unit: str | None
    since: Annotated[str, about("the instant at which the clock of this run is 0: start of the run, or of the phase")]
    shift_s: Annotated[float, about("seconds by which its buckets begin before that: they are the database's own")]
    values: Annotated[list[float | None], about("mean of each bucket; null: no sample")]
    low: Annotated[list[float | None], about("least of each bucket")]
    high: Annotated[list[float | None], about("greatest of each bucket")]


class AlignedRuns(Answer):
    phase: Annotated[str | None, about("at whose begin the clock is 0; null: at the start")]
    bucket: str
    hours: Annotated[list[float], about("where each bucket begins, on the clock of all runs")]
    series: list[AlignedSeries]
    warnings: list[str]


class ChannelEnvelope(Answer):
    channel: str
    unit: str | None
    middle: Annotated[list[float | None], about("mean, or median; null: too few references have a value")]
    low: list[float | None]
    high: list[float | None]
    count: Annotated[list[int], about("how many references have a value")]


class ExcursionAnswer(Answer):
    channel: str
    device: str
    begin: Annotated[float, about("hours")]
    end: float
    duration: Annotated[float, about("how long, in hours, from the first time outside to the last")]
    outside: Annotated[float, about("how long of that it was outside, in hours")]
    times: Annotated[int, about("how many times in a row it was outside: those near each other are told as one")]
    begins: Annotated[str, about("the same as an instant")]
    worst: Annotated[float, about("hour of the greatest distance")]
    value: Annotated[float, about("the value there")]
    distance: Annotated[float, about("how far beyond the band it is, in units of the channel; negative: below")]


class ChannelScore(Answer):
    channel: str
    device: str
    score: Annotated[float | None, about("percent of the judged time inside the band; null: nothing could be judged")]
    judged: Annotated[float, about("hours in which both run and band have a value")]


class RunScore(Answer):
    run: str
    score: Annotated[float | None, about("mean of its channels' scores")]
    channels: list[ChannelScore]
    excursions: Annotated[list[ExcursionAnswer], about("where it left the band, longest first")]


class EnvelopeAnswer(Answer):
    phase: str | None
    bucket: str
    hours: list[float]
    method: Annotated[str, about("how the band is made")]
    references: list[str]
    envelopes: list[ChannelEnvelope]
    scores: list[RunScore]
    series: Annotated[list[AlignedSeries], about("the runs that were scored")]
    warnings: list[str]


class StatisticsParameters(StrictParameters):
    channel: list[Name] = Field(
        min_length=1, max_length=MOST_CHANNELS, description="channel names or patterns; may be repeated"
    )
    unit: UnitsAsked = Field([])
    corrections: CorrectionsAsked = None
    as_of: AsOf = None


class PhaseStatistics(Answer):
    phase: Annotated[str | None, about("null: the whole run")]
    begins: str
    ends: Annotated[str | None, about("null: it lasts")]
    hours: float
    device: str
    channel: str
    unit: str | None
    avg: float | None
    twa: Annotated[float | None, about("mean over time")]
    min: float | None
    max: float | None
    stddev: float | None
    integral: Annotated[float | None, about("over hours")]
    integral_unit: str | None
    count: int
    percent_good: float | None


class RunStatistics(Answer):
    run: str
    statistics: list[PhaseStatistics]
    corrections: Annotated[Applied, about("whether those that there are were applied")]
    corrected: Annotated[list[CorrectedTime], about("corrections of these channels in the run, applied or not")]
    as_of: Annotated[str | None, about("what was known then; null: what is known now")]
    warnings: list[str]


class ProposedPhases(Answer):
    run: str
    method: Annotated[
        Literal["event", "data"], about("by events of the devices, or where there are none by their data")
    ]
    phases: list[RunPhaseAnswer]


SERIES = example(
    AlignedSeries,
    """{"run": "B-2026-041", "device": "br-1", "channel": "ph", "unit": "pH", "since": "2026-11-20T07:45:00.000000Z",
 "shift_s": 0.0, "values": [7.02, null], "low": [7.01, null], "high": [7.03, null]}""",
)
COMPARED = {"phase": None, "bucket": "30m", "hours": [0.0, 0.5], "series": [SERIES], "warnings": []}
SCORE = example(
    RunScore,
    """{"run": "B-2026-041", "score": 98.5, "channels": [{"channel": "ph", "device": "br-1", "score": 98.5,
 "judged": 100.0}], "excursions": [{"channel": "ph", "device": "br-1", "begin": 30.0, "end": 31.5, "duration": 1.5,
 "outside": 1.0, "times": 2, "begins": "2026-11-21T13:45:00.000000Z",
 "worst": 30.5, "value": 7.3, "distance": 0.12}]}""",
)
ENVELOPE = {
    **{"phase": None, "bucket": "30m", "hours": [0.0, 0.5], "method": "mean ± 3 standard deviations"},
    "references": ["B-2026-038", "B-2026-039"],
    "envelopes": [
        {
            **{"channel": "ph", "unit": "pH", "middle": [7.02, None], "low": [6.96, None], "high": [7.08, None]},
            "count": [2, 1],
        }
    ],
    "scores": [SCORE],
    "series": [SERIES],
    "warnings": [],
}
STATISTICS = example(
    RunStatistics,
    """{"run": "B-2026-041", "statistics": [{"phase": "batch", "begins": "2026-11-20T07:45:00.000000Z",
 "ends": "2026-11-20T19:45:00.000000Z", "hours": 12.0, "device": "br-1", "channel": "ph", "unit": "pH", "avg": 7.02,
 "twa": 7.02, "min": 6.9, "max": 7.1, "stddev": 0.02, "integral": 84.2, "integral_unit": "pH·h", "count": 43200,
 "percent_good": 100.0}], "corrections": "applied", "corrected": [], "as_of": null, "warnings": []}""",
)
