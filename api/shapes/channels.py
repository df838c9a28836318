"""Channels of an organization and of a device: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, printable
from schema.channels import LONGEST_NAME, LONGEST_TITLE, LONGEST_UNIT, MOST_DECIMALS, ChannelTerms, Kind

RANGE = "of the range of usual values, in this unit; null: not said, or said of another unit"


class ChannelAnswer(Answer):
    channel: str
    unit: Annotated[str | None, about("the unit that holds now; null: not known")]
    description: Annotated[str | None, about("what the standard list says of a channel of this name")]
    title: Annotated[str | None, about("what people call it")]
    kind: Annotated[Kind | None, about("PV: process value, SP: setpoint, output: what a loop sets; null: not known")]
    low: Annotated[float | None, about(f"begin {RANGE}")]
    high: Annotated[float | None, about(f"end {RANGE}")]
    decimals: Annotated[int | None, about("how many are worth showing")]
    step: Annotated[bool, about("true: a value holds until the next one and is never interpolated, like a setpoint")]
    computed: Annotated[bool, about("true: devices do not send it; /api/v1/computed-channels has all of it")]
    formula: Annotated[str | None, about("of a computed channel; else null")]
    source: Annotated[str | None, about("where the formula of a computed channel comes from")]


class UnitSince(Answer):
    unit: str | None
    since: Annotated[str | None, about("by the time of the samples; null: from the beginning")]


class ChannelDetail(ChannelAnswer):
    units: Annotated[list[UnitSince], about("the units that it had, oldest first: what is stored keeps its unit")]
    version: Annotated[int, about("counts what is said of it; the ETag for If-Match")]
    warnings: Annotated[list[str], about("possible mistakes")]


def answer(name: str, terms: ChannelTerms, formula: str | None = None, source: str | None = None) -> ChannelAnswer:
    return ChannelAnswer(
        channel=name,
        unit=terms.unit,
        description=terms.description,
        title=terms.title,
        kind=terms.kind,
        low=terms.low,
        high=terms.high,
        decimals=terms.decimals,
        step=terms.step,
        computed=formula is not None,
        formula=formula,
        source=source,
    )


CHANNEL = example(
    ChannelAnswer,
    """{"channel": "ph", "unit": "pH", "description": "pH, process value", "title": "pH of the broth", "kind": "PV",
 "low": 0.0, "high": 14.0, "decimals": 2, "step": false, "computed": false, "formula": null,
 "source": null}""",
)
DETAIL = CHANNEL | {"units": [{"unit": "pH", "since": None}], "version": 2, "warnings": []}

Unit = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_UNIT),
    AfterValidator(printable),
]
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TITLE), AfterValidator(printable)
]
Number = Annotated[float, Field(allow_inf_nan=False)]
BACK = "; null: as it is without this"


class ChannelChange(Order):
    """What is left out stays."""

    model_config = ConfigDict(strict=True) | body_config(
        unit="mbar", unit_since="2026-11-20T07:45:00Z", low=0, high=500, why="new sensor"
    )

    unit: Unit | None = Field(None, description="in which its values come from now on" + BACK)
    unit_since: Instant | None = Field(
        None,
        description="since when they come in that unit, by the time of the samples; without it from now on, or from "
        "the beginning if no unit was known. What is stored before keeps the unit that it had",
    )
    title: Title | None = Field(None, description="what people call it" + BACK)
    kind: Kind | None = Field(None, description="PV, SP (setpoint) or output" + BACK)
    low: Number | None = Field(None, description="begin of the range of usual values, with `high`" + BACK)
    high: Number | None = Field(None, description="its end, with `low`" + BACK)
    decimals: Annotated[int, Field(ge=0, le=MOST_DECIMALS)] | None = Field(
        None, description="how many are worth showing" + BACK
    )
    step: bool | None = Field(
        None, description="true: a value holds until the next one and is never interpolated" + BACK
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.low is None) != (self.high is None) or ("low" in self.said) != ("high" in self.said):
            raise PydanticCustomError("range", "`low` and `high` go together", {"parameter": "low"})
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PydanticCustomError("range", "must be below `high`", {"parameter": "low"})
        if self.unit_since is not None and "unit" not in self.said:
            raise PydanticCustomError("unit", "goes with `unit`", {"parameter": "unit_since"})
        return self

    @property
    def said(self) -> dict[str, str | float | bool | None]:
        """The fields that are given, also as null."""
        return self.model_dump(exclude_unset=True, exclude={"why", "unit_since", "channel", "model"})


class ModelChannelChange(ChannelChange):
    """A change for each device of a model."""

    model_config = ConfigDict(strict=True) | body_config(
        channel="pressure", model="rev C", unit="mbar", why="all of them have the new sensor"
    )

    channel: str = Field(min_length=1, max_length=LONGEST_NAME, description="name of a channel that they have sent")
    model: str = Field(min_length=1, max_length=64, description="what its devices said at their enrollment")


class ModelChannel(Answer):
    channel: str
    model: str
    devices: Annotated[list[str], about("those of the model that have sent the channel: of each the change is done")]


MODEL_CHANNEL = example(ModelChannel, """{"channel": "pressure", "model": "rev C", "devices": ["br-1", "br-2"]}""")
