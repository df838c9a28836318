"""Lab samples joined to the telemetry of their time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from api.http.description import Answer, about
from api.http.parameters import CorrectionsAsked, Duration, UnitsAsked
from api.shapes.lab_samples import SAMPLE, LabSample, SampleParameters
from api.shapes.selection import Name
from api.shapes.telemetry_many import TelemetryColumn

MOST_CHANNELS = 50


class SampleTelemetryParameters(SampleParameters):
    channel: list[Name] = Field(
        min_length=1,
        max_length=MOST_CHANNELS,
        description="channel name, or a pattern with `*` and `?`; may be repeated",
        examples=[["ph", "feed_*_rate"]],
    )
    unit: UnitsAsked = Field([])
    corrections: CorrectionsAsked = None
    max_age: Duration = Field(timedelta(minutes=10), description="how far a telemetry value may be from the sample")
    method: Literal["last", "linear"] = Field(
        "last", description="last: the last value at or before the sample; linear: between it and the next one"
    )


class SampleValues(LabSample):
    """A sample with what the device sent at its time."""

    values: Annotated[list[float | None], about("of the `columns`; null: there is none within `max_age`")]


class SampleTelemetry(Answer):
    """Samples with the values of channels at their times."""

    columns: Annotated[list[TelemetryColumn], about("what stands in `values`")]
    samples: list[SampleValues]
    warnings: list[str]
    truncated: Annotated[bool, about("true: there is more; `next` leads to it")]
    next: Annotated[str | None, about("`cursor` of the next page; null on the last one")]


SAMPLE_TELEMETRY: dict[str, Any] = {
    "columns": [{"channel": "ph", "unit": "pH", "aggregate": None, "step": False, "computed": False}],
    "samples": [SAMPLE | {"values": [7.02]}],
    **{"warnings": [], "truncated": False, "next": None},
}
