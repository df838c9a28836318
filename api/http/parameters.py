"""Query parameters as frozen models. What is misspelt is refused: ignored in silence it would give wrong data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError
from starlette.requests import HTTPConnection

from api.http import times
from api.problems import BadParameter
from schema.topics import is_device_name

REPEATABLE = frozenset({"channel", "channels", "aggregate", "reason", "state", "tag", "priority", "cause"})

Instant = Annotated[
    datetime,
    BeforeValidator(times.parse_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-11-20T07:45:00Z", "1795160700000"]}),
]
"""ISO 8601 with a zone, or milliseconds since 1970."""

Duration = Annotated[
    timedelta,
    BeforeValidator(times.parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d|w)$", "examples": ["1m", "1h", "1d"]}),
]
Quality = Annotated[
    Literal["good", "all"],
    Field(description="good: only samples with quality 0; all: every sample, with its quality"),
]
Cursor = Annotated[
    str | None,
    Field(max_length=2000, description="`next` of the page before, with the other parameters unchanged"),
]


NAME: JsonDict = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
"""As `is_device_name` has it, for the description: the words of a refusal are ours."""


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
    str,
    Path(description="name of an alarm rule", examples=["temperature-high"], pattern="^[a-z0-9][a-z0-9-]{0,63}$"),
]


SerialNumber = Annotated[
    str,
    BeforeValidator(device_name),
    Path(description="serial number of a controller", examples=["BR-2044"], json_schema_extra=NAME),
]


class Known(BaseModel):
    """Base of all: parameters that are not named are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_known(cls, given: Any) -> Any:
        known = sorted(field.alias or name for name, field in cls.model_fields.items())
        for name in given:
            if name not in known:
                near = nearest(name, known)
                meant = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
                raise PydanticCustomError(
                    "unknown_parameter", "no such parameter; {meant}", {"parameter": name, "meant": meant}
                )
        return given


class Parameters(Known):
    """Of what reads: it also takes `format`."""

    format: Literal["json", "csv"] | None = Field(
        None, description="json or csv; without it the Accept header decides, and the address if it ends in .csv"
    )


class NoParameters(Parameters):
    """Only `format`."""


class WindowParameters(Parameters):
    from_: Instant = Field(times.FIRST, alias="from", description="first instant; without it from the beginning")
    to: Instant = Field(times.LAST, description="end, not part of it; without it to the newest")
    cursor: Cursor = None

    def window(self) -> times.Span:
        if self.from_ >= self.to:
            raise BadParameter("from", "must be before `to`")
        return times.Span(self.from_, self.to)


async def reject_repeated_parameters(request: HTTPConnection) -> None:  # async: FastAPI would call it in a thread
    """Refuse a parameter that is given twice and can have only one value: which one would count?"""
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name in seen and name not in REPEATABLE:
            raise BadParameter(name, "is given more than once")
        seen.add(name)
        if "\0" in value:
            raise BadParameter(name, "holds a NUL character, which no name has")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What was probably meant."""
    folded = {one.casefold(): one for one in known}
    return next((folded[near] for near in difflib.get_close_matches(name.casefold(), folded, 1)), None)


def listed(repeated: list[str], joined: list[str]) -> list[str]:
    """One list of names out of a repeatable parameter (as they are) and a comma list (split)."""
    return [*repeated, *(name for names in joined for name in names.split(",") if name)]
