"""Corrections of samples of a channel of a device: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import AsOf, Instant, ListParameters
from api.http.run_times import RunSpanParameters
from schema import times

CorrectionAct = Literal["make", "change", "withdraw"]


class CorrectedTime(Answer, rename={"from_": "from"}):
    """A correction in an answer with samples."""

    correction: int
    device: str
    channel: str
    from_: str
    to: Annotated[str, about("end, not part of it")]
    value: Annotated[float | None, about("in place of what was sent, in the unit in which the channel is stored")]
    factor: Annotated[float | None, about("what was sent times this, plus `offset`")]
    offset: float | None
    quality: Annotated[int | None, about("null: it stays")]


class CorrectionAnswer(Answer, rename={"from_": "from"}):
    """A version of a correction."""

    correction: Annotated[int, about("its number")]
    version: Annotated[int, about("it replaces the one before it")]
    act: Annotated[CorrectionAct, about("make: the first version; withdraw: it holds no more, and is the last")]
    device: str
    channel: str
    from_: str
    to: Annotated[str, about("end, not part of it")]
    value: Annotated[float | None, about("in place of what was sent, in `unit`")]
    factor: Annotated[float | None, about("what was sent times this, plus `offset`")]
    offset: Annotated[float | None, about("in `unit`")]
    quality: Annotated[int | None, about("0 good, 1 bad, 2 uncertain; null: it stays")]
    unit: Annotated[str | None, about("in which the channel is stored in that time")]
    deviation: str | None
    who: str
    why: str
    made_at: str


class CorrectionDetail(Answer):
    correction: int
    version: Annotated[int, about("the newest")]
    versions: Annotated[list[CorrectionAnswer], about("oldest first; each replaces the one before it")]


CORRECTION = example(
    CorrectionAnswer,
    """{"correction": 3, "version": 1, "act": "make", "device": "br-1", "channel": "ph",
 "from": "2026-11-20T06:00:00.000000Z", "to": "2026-11-20T07:45:00.000000Z", "value": null, "factor": 1.0,
 "offset": -0.12, "quality": null, "unit": "pH", "deviation": "DEV-2026-0001", "who": "eva@example.com",
 "why": "calibrated with the wrong buffer", "made_at": "2026-11-20T08:45:00.000000Z"}""",
)
DETAIL = {"correction": 3, "version": 1, "versions": [CORRECTION]}

Number = Annotated[float, Field(allow_inf_nan=False)]


class NewCorrection(Order):
    """The body of a correction: a channel, a time, and what is put in place of what was sent."""

    model_config = body_config(
        channel="ph",
        factor=1,
        offset=-0.12,
        unit="pH",
        why="calibrated with the wrong buffer",
        **{"from": "2026-11-20T06:00:00Z", "to": "2026-11-20T07:45:00Z"},
    )

    channel: str = Field(min_length=1, max_length=64, description="a channel that the device sends")
    from_: Instant | None = Field(None, alias="from", description="first instant")
    to: Instant | None = Field(None, description="end, not part of it; at most now")
    at: Instant | None = Field(None, description="in place of `from` and `to`: the time of one sample")
    value: Number | None = Field(None, description="the value in place of what was sent")
    factor: Number | None = Field(None, description="what was sent times this, plus `offset`; 1 if only that is given")
    offset: Number | None = Field(None, description="see `factor`; 0 if only that is given")
    quality: int | None = Field(None, ge=0, le=255, description="0 good, 1 bad, 2 uncertain, or as devices say it")
    unit: str | None = Field(
        None,
        max_length=20,
        description="of `value` and `offset`; it must be the one in which the channel is stored in that time",
    )
    deviation: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20)] | None = Field(
        None,
        description="the number of the deviation that it belongs to, which gets a link",
        examples=["DEV-2026-0001"],
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.at is None) != (self.from_ is not None and self.to is not None) or (
            self.at is not None and (self.from_ is not None or self.to is not None)
        ):
            raise PydanticCustomError("span", "give `from` and `to`, or `at`", {"parameter": "from"})
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        if self.value is not None and (self.factor is not None or self.offset is not None):
            raise PydanticCustomError("what", "give a value, or factor and offset", {"parameter": "value"})
        if self.value is None and self.factor is None and self.offset is None and self.quality is None:
            raise PydanticCustomError("what", "give a value, factor and offset, or a quality", {"parameter": "value"})
        return self

    def span(self) -> times.Span:
        if self.at is not None:
            return times.Span(self.at, self.at + times.MICROSECOND)
        assert self.from_ is not None
        assert self.to is not None
        return times.Span(self.from_, self.to)

    def change(self) -> tuple[float | None, float | None]:
        """Return factor and offset, both or none."""
        if self.factor is None and self.offset is None:
            return None, None
        return 1.0 if self.factor is None else self.factor, self.offset or 0.0


class CorrectionParameters(RunSpanParameters, ListParameters):
    channel: str | None = Field(None, min_length=1, max_length=64, description="only those of this channel")
    as_of: AsOf = None
