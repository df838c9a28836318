"""The planned setpoints of a run, and how they compare with what was."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.http.bodies import body_config
from api.http.description import Answer, about, example
from schema.channels import LONGEST_NAME

MOST_PROFILES, MOST_POINTS = 50, 200
ChannelText = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]


class PlanPoint(BaseModel):
    model_config = body_config(hours=0, value=37)

    hours: float = Field(ge=0, le=24 * 3660, strict=True, description="since the start of the run, or of the phase")
    value: Annotated[float, Field(allow_inf_nan=False, strict=True)]


class PlannedProfile(BaseModel):
    """What a channel shall be, from each point to the next one."""

    model_config = body_config(channel="temperature", points=[{"hours": 0, "value": 37}])

    channel: ChannelText
    phase: str | None = Field(None, min_length=1, max_length=100, description="hours count from its begin, to its end")
    kind: Literal["step", "ramp"] = Field("step", description="step: a value holds to the next point; ramp: a line")
    points: list[PlanPoint] = Field(min_length=1, max_length=MOST_POINTS)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if any(one.hours >= other.hours for one, other in pairwise(self.points)):
            raise ValueError("points must be in the order of their hours")
        return self


Plan: TypeAlias = Annotated[
    list[PlannedProfile], Field(max_length=MOST_PROFILES, description="planned setpoints, by channel")
]


class PlanAgainstActual(Answer):
    channel: str
    unit: str | None
    device: str
    phase: Annotated[str | None, about("null: the time of the run that is in no phase, or all of it without phases")]
    planned: Annotated[float | None, about("mean of the plan; null: there is none at that time")]
    actual: Annotated[float | None, about("mean of good samples at the same times; null: there is none")]
    deviation: Annotated[float | None, about("mean of actual minus plan")]
    largest: Annotated[float | None, about("the largest of actual minus plan, with its sign")]
    largest_at: Annotated[str | None, about("when that was")]


class RunPlanAnswer(Answer):
    run: str
    bucket: Annotated[str, about("the width whose means were compared")]
    deviations: list[PlanAgainstActual]
    warnings: Annotated[list[str], about("profiles that are compared with nothing, and why")]


RUN_PLAN = example(
    RunPlanAnswer,
    """{"run": "B-2026-041", "bucket": "1m", "deviations": [{"channel": "temperature", "unit": "°C", "device": "br-1",
 "phase": "batch", "planned": 37.0, "actual": 36.92, "deviation": -0.08, "largest": -1.4,
 "largest_at": "2026-11-20T07:46:00.000000Z"}], "warnings": []}""",
)
