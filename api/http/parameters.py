"""Query parameters as frozen models. What is misspelt is refused: ignored in silence it would give wrong data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError
from starlette.requests import HTTPConnection

from api.problems import BadParameter
from schema import times
from schema.topics import is_device_name

MOST_NAMES = 200
"""Names in a filter of a live feed."""
REPEATABLE = frozenset(
    {"channel", "channels", "aggregate", "reason", "state", "tag", "priority", "cause", "unit", "kind"}
)
FORMAT = re.compile(r"\.(csv|arrow|parquet)$")
MANY = frozenset({("device", "/api/v1/telemetry"), ("at", "/api/v1/telemetry"), ("device", "/api/v1/evidence")})
"""What may be repeated there alone."""

Instant = Annotated[
    datetime,
    BeforeValidator(times.parse_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-11-20T07:45:00Z", "1795160700000", "-24h"]}),
]
"""See `parse_instant`."""

Duration = Annotated[
    timedelta,
    BeforeValidator(times.parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d|w)$", "examples": ["1m", "1h", "1d"]}),
]
Quality = Annotated[
    Literal["good", "all"], Field(description="good: only samples with quality 0; all: every sample, with its quality")
]
UnitsAsked = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=20)]],
    Field(
        max_length=20,
        description="units that are wanted, like °F (or degF), L/h, mbar, mg/L; may be repeated. Each channel is "
        "converted to the first that it can be in; docs/channels.md has all of them",
    ),
]
Applied = Literal["applied", "none"]
CorrectionsAsked = Annotated[
    Applied | None,
    Field(
        description="applied: samples as people have corrected them; none: as they were sent. Without it applied, but "
        "for raw samples and files of them, which are as they were sent. Each answer says which corrections there are"
    ),
]
AsOf = Annotated[
    Instant | None,
    Field(
        description="what was known then: only frames that were received by then, and corrections that were made by "
        "then; docs/corrections.md says what it does not cover"
    ),
]


def known(as_of: datetime | None) -> datetime | None:
    """Return the instant. Raises BadParameter for one that is yet to come, of which the answer would not stay."""
    if as_of is not None and as_of > datetime.now(UTC):
        raise BadParameter("as_of", "is in the future: what will be known then cannot be said")
    return as_of


Cursor = Annotated[
    str | None, Field(max_length=2000, description="`next` of the page before, with the other parameters unchanged")
]


def printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(printable)
]


NAME: JsonDict = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
"""The pattern of a device's name, for the description alone: `device_name` refuses others in our own words."""


def device_name(name: str) -> str:
    if not is_device_name(name):
        raise ValueError(
            "a name has 1 to 64 letters, digits, dots, underscores and hyphens; the first is a letter or digit"
        )
    return name


DeviceName = Annotated[
    str,
    BeforeValidator(device_name),
    Path(description="name of a registered device", examples=["br-1"], json_schema_extra=NAME),
]


RuleName = Annotated[
    str, Path(description="name of an alarm rule", examples=["temperature-high"], pattern="^[a-z0-9][a-z0-9-]{0,63}$")
]


SerialNumber = Annotated[
    str,
    BeforeValidator(device_name),
    Path(description="serial number of a controller", examples=["BR-2044"], json_schema_extra=NAME),
]


class StrictParameters(BaseModel):
    """Base of all query parameters: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_known(cls, given: Any) -> Any:
        known = sorted(field.alias or name for name, field in cls.model_fields.items())
        for name in given if isinstance(given, dict) else ():  # a body may be anything: the next step refuses it
            if name not in known:
                near = nearest(name, known)
                meant = f"did you mean {near}?" if near else f"there are {', '.join(known) or 'none'}"
                raise PydanticCustomError(
                    "unknown_parameter", "no such parameter; {meant}", {"parameter": name, "meant": meant}
                )
        return given


class Parameters(StrictParameters):
    """Base of the parameters of routes that read: they also take `format`."""

    format: Literal["json", "csv"] | None = Field(
        None, description="json or csv; without it the Accept header decides, and the address if it ends in .csv"
    )


class NoParameters(Parameters):
    """The parameters of a route that takes only `format`."""


class KnownParameters(Parameters):
    """The parameters of a thing of which all versions stay."""

    as_of: AsOf = None


class StreamParameters(Parameters):
    """The parameters of a list in pages that is streamed whole as CSV if no limit is given."""

    limit: int | None = Field(
        None, ge=1, le=1000, description="most items on a page, 100 if not given. CSV without it is not cut into pages"
    )
    cursor: Cursor = None


class ListParameters(StreamParameters):
    """The parameters of a list in pages, whatever the format."""

    limit: int = Field(100, ge=1, le=1000, description="most items on a page")


class SpanParameters(Parameters):
    """The parameters of what lies in a time."""

    from_: Instant = Field(times.FIRST, alias="from", description="first instant; without it from the beginning")
    to: Instant = Field(times.LAST, description="end, not part of it; without it to the newest")

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        return self

    def span(self) -> times.Span:
        return times.Span(self.from_, self.to)


class ReasonParameter(StrictParameters):
    """The parameter of a removal, which has no body."""

    why: Words = Field(description="the reason, for the audit trail", examples=["as agreed on 3 November"])


class ByAddress(StrictParameters):
    """The parameter of what pages ask for without headers. Who allows it names its address in `guard.BY_ADDRESS`."""

    organization: str | None = Field(
        None, max_length=64, description="as the header Biogate-Organization, which a page cannot send here"
    )


class FeedParameters(ByAddress):
    """The parameters of every live feed."""

    device: str | None = Field(None, max_length=20_000, description="only these devices: names, commas between")
    run: str | None = Field(
        None, min_length=1, max_length=100, description="only the devices of this run, as they are when the feed begins"
    )

    def devices(self) -> frozenset[str]:
        return some("device", self.device)


class RateParameters(FeedParameters):
    """The parameters of a live feed of what holds now."""

    rate: float = Field(
        10, ge=0.05, le=10, description="most messages a second; of what comes faster the newest is sent"
    )


def recent(from_: datetime | None, to: datetime | None, usual: timedelta, most: timedelta | None = None) -> times.Span:
    """The time asked for; `to` is now, and `from_` is `usual` before it, unless given. Raises BadParameter."""
    end = to or datetime.now(UTC)
    begin = from_ or end - usual
    if begin >= end:
        raise BadParameter("from", f"must be before `to`, which is {times.text(end)}")
    if most is not None and end - begin > most:
        raise BadParameter("from", f"must be at most {most.days} days before `to`, which is {times.text(end)}")
    return times.Span(begin, end)


async def reject_repeated_parameters(request: HTTPConnection) -> None:  # async: FastAPI would call it in a thread
    """Refuse a parameter that is given twice and can have only one value: which one would count?"""
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name in seen and name not in REPEATABLE and (name, FORMAT.sub("", request.url.path)) not in MANY:
            raise BadParameter(name, "is given more than once")
        seen.add(name)
        if "\0" in value:
            raise BadParameter(name, "holds a NUL character, which no name has")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one, or None."""
    folded = {one.casefold(): one for one in known}
    return next((folded[near] for near in difflib.get_close_matches(name.casefold(), folded, 1)), None)


def listed(repeated: list[str], joined: list[str]) -> list[str]:
    """One list of names out of a repeatable parameter (as they are) and a comma list (split)."""
    return [*repeated, *(name for names in joined for name in names.split(",") if name)]


def some(parameter: str, joined: str | None, repeated: Iterable[str] = ()) -> frozenset[str]:
    """The names of a filter, out of a comma list and single ones; none, if the filter was left out. Raises
    BadParameter."""
    names = frozenset(listed([*repeated], [joined or ""]))
    if len(names) > MOST_NAMES or (joined is not None and not names):
        raise BadParameter(parameter, f"give 1 to {MOST_NAMES} names, commas between")
    return names
