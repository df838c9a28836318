"""A rule that is tried over stored history: what is taken and what is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.http.bodies import DeviceText, body_config
from api.http.description import Answer, about, example
from api.http.run_times import Moment, PhaseOfRun, RunAsked
from api.shapes.alarm_rules import DEFINITION
from schema.alarms.rules import Definition, RuleName


class Fired(Answer):
    device: str
    what: Annotated[
        Literal["active", "unknown", "suppressed"],
        about("active: until the condition returned; unknown: it could not be evaluated; suppressed: by the run phase"),
    ]
    begin: str
    end: Annotated[str | None, about("null: it was still so when the evaluation ended")]
    value: Annotated[float | None, about("value that was compared when it began")]
    detail: str


class TriedDevice(Answer):
    device: str
    frames: Annotated[int, about("number of frames evaluated")]
    until: Annotated[str, about("all frames before this time were evaluated")]


class Trial(Answer, rename={"from_": "from"}):
    from_: str
    to: str
    complete: Annotated[bool, about("false: not all frames were evaluated, see `until` of each device and `warnings`")]
    devices: list[TriedDevice]
    periods: Annotated[list[Fired], about("device by device, each in order of begin; at most 1000")]
    warnings: list[str]


TRIAL = example(
    Trial,
    """{"from": "2026-11-19T07:45:00.000000Z", "to": "2026-11-20T07:45:00.000000Z", "complete": true,
 "devices": [{"device": "br-1", "frames": 86400, "until": "2026-11-20T07:45:00.000000Z"}],
 "periods": [{"device": "br-1", "what": "active", "begin": "2026-11-19T13:01:12.000000Z",
 "end": "2026-11-19T13:04:40.000000Z", "value": 38.2, "detail": "38.2 above 38"}], "warnings": []}""",
)
LONGEST_TRIAL = timedelta(days=31)
MOST_TRIED = 50
"""The most devices in one trial."""


class NewTrial(BaseModel):
    model_config = body_config(
        definition={name: DEFINITION[name] for name in ("title", "when", "on_delay")},
        devices=["br-1"],
        **{"from": "2026-11-19T07:45:00Z", "to": "2026-11-20T07:45:00Z"},
    )

    rule: RuleName | None = Field(None, description="name of a saved rule")
    definition: Definition | None = Field(None, description="instead of `rule`: a rule that is not saved")
    devices: Annotated[list[DeviceText], Field(min_length=1, max_length=MOST_TRIED)] | None = Field(
        None, description=f"without it those of `run`, or of those in its scope the first {MOST_TRIED} by name"
    )
    run: RunAsked = None
    phase: PhaseOfRun = None
    from_: Moment | None = Field(None, alias="from", description="without it a day before `to`, or the begin of `run`")
    to: Moment | None = Field(
        None, description="end, not part of it, at most 31 days later; without it now, or the end of `run`"
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.rule is None) == (self.definition is None):
            raise ValueError("give either rule or definition")
        if self.devices is not None and len(set(self.devices)) < len(self.devices):
            raise ValueError("a device is named twice")
        return self
