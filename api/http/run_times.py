"""Times that are given as the run or phase in which they lie, or as a distance from its start or end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from api.http.parameters import Parameters
from api.problems import BadParameter
from schema import times
from schema.times import Span

OFFSET = re.compile(r"(start|end)(?:([+\- ])(\d{1,9}(?:ms|s|m|h|d|w)))?", re.ASCII)
RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""The id of a run."""


@dataclass(frozen=True, slots=True)
class Offset:
    """A distance from the start or the end of a run or phase."""

    edge: Literal["start", "end"]
    distance: timedelta

    def of(self, span: Span) -> datetime:
        """Return the instant. Raises BadParameter if no calendar has it."""
        try:
            return times.checked((span.begin if self.edge == "start" else span.end) + self.distance)
        except (ValueError, OverflowError) as error:
            raise BadParameter("from", str(error)) from error


def parse_moment(given: object, now: datetime | None = None) -> datetime | Offset:
    """Return an instant as `parse_instant` does, or what `start`, `end`, `start+2h` and `end-30m` say. A + in an
    address is a space if nobody encoded it, and means the same."""
    found = OFFSET.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        try:
            return times.parse_instant(given, now)
        except ValueError as error:
            raise ValueError(f"{error}; with `run` also a distance like start+2h or end-30m") from None
    edge: Literal["start", "end"] = "start" if found[1] == "start" else "end"
    distance = times.parse_duration(found[3]) if found[3] else timedelta(0)
    return Offset(edge, -distance if found[2] == "-" else distance)


Moment = Annotated[
    datetime | Offset,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-11-20T07:45:00Z", "1795160700000", "-24h", "start+2h"]}),
]
RunAsked = Annotated[
    str | None,
    Field(
        pattern=RUN_NAME,
        description="only in the time of this run; `from` and `to` can be distances from its start or end, like "
        "start+2h or end-30m, or from those of `phase`",
    ),
]
PhaseOfRun = Annotated[
    str | None, Field(min_length=1, max_length=200, description="only in this phase of `run`: the newest of that name")
]


def moment_text(moment: datetime | Offset) -> str:
    """Return what `parse_moment` reads."""
    if isinstance(moment, datetime):
        return moment.isoformat()
    if not moment.distance:
        return moment.edge
    sign = "-" if moment.distance < timedelta(0) else "+"
    return f"{moment.edge}{sign}{times.duration_text(abs(moment.distance))}"


class Placed(Protocol):
    """What asks for a time that may be that of a run."""

    @property
    def run(self) -> str | None: ...
    @property
    def phase(self) -> str | None: ...
    @property
    def from_(self) -> datetime | Offset | None: ...
    @property
    def to(self) -> datetime | Offset | None: ...


def instant(parameter: str, given: datetime | Offset | None) -> datetime | None:
    """Return an instant that is none of a run. Raises BadParameter."""
    if isinstance(given, Offset):
        raise BadParameter(parameter, "start and end are those of a run: name it by `run`")
    return given


class RunSpanParameters(Parameters):
    """The parameters of what lies in a time, which may be that of a run or phase."""

    run: RunAsked = None
    phase: PhaseOfRun = None
    from_: Moment = Field(times.FIRST, alias="from", description="first instant; without it from the beginning")
    to: Moment = Field(times.LAST, description="end, not part of it; without it to the newest")

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if isinstance(self.from_, datetime) and isinstance(self.to, datetime) and self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        return self

    def span(self) -> Span:
        """Return the time, of a question that `run_times.placed` has placed. Raises BadParameter."""
        return Span(instant("from", self.from_) or times.FIRST, instant("to", self.to) or times.LAST)


Kind = TypeVar("Kind", bound=BaseModel)


def within(asked: Placed, span: Span) -> Span:
    """Return the time that is asked for of a run or phase that was in `span`. Raises BadParameter."""
    begin = span.begin if asked.from_ in (None, times.FIRST) else asked.from_
    end = span.end if asked.to in (None, times.LAST) else asked.to
    begin = begin.of(span) if isinstance(begin, Offset) else begin
    end = end.of(span) if isinstance(end, Offset) else end
    assert begin is not None
    assert end is not None
    if begin >= end:
        raise BadParameter("from", f"must be before `to`, which is {times.text(end)}")
    return Span(begin, end)
