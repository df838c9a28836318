"""Commands to devices: what is taken and what is given."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Duration
from schema import times

CommandState = Literal["waiting", "sent", "accepted", "done", "refused", "failed", "expired", "cancelled"]


class CommandAnswer(Answer):
    id: str
    device: str
    name: str
    parameters: dict[str, Any]
    precondition: Annotated[dict[str, Any] | None, about("precondition that held when the command was requested")]
    boot: Annotated[int | None, about("the device refuses it in any other boot")]
    state: Annotated[
        CommandState,
        about(
            "waiting: for a gateway; sent: the broker has it; accepted, done, refused, failed: the device said so; "
            "expired: it was not sent or not answered in time; if it was sent, it is not known whether it was done; "
            "cancelled: before it was sent"
        ),
    ]
    requested_by: str
    why: str
    requested_at: str
    expires_at: Annotated[str, about("the device does not begin it after this time")]
    sent_at: str | None
    accepted_at: str | None
    ended_at: Annotated[str | None, about("null: it has not ended")]
    detail: Annotated[str | None, about("explanation of the device or gateway")]
    result: Annotated[dict[str, Any] | None, about("what the device answered")]


COMMAND = example(
    CommandAnswer,
    """{"id": "3f2b8c1e-9d4a-4f6b-8e7c-1a2b3c4d5e6f", "device": "br-1", "name": "setpoint",
 "parameters": {"channel": "ph", "value": 7.1}, "precondition": {"online": true, "channel": "ph", "min": 6.5,
 "max": 7.5, "within": "1m"}, "boot": 7, "state": "waiting", "requested_by": "eva@example.org",
 "why": "feeding begins", "requested_at": "2026-11-20T07:45:00.000000Z",
 "expires_at": "2026-11-20T07:46:00.000000Z", "sent_at": null, "accepted_at": null, "ended_at": null,
 "detail": null, "result": null}""",
)
ENDED = COMMAND | {
    "state": "done",
    "sent_at": "2026-11-20T07:45:00.020000Z",
    "accepted_at": "2026-11-20T07:45:00.050000Z",
    "ended_at": "2026-11-20T07:45:01.200000Z",
    "result": {"value": 7.1},
}
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=1)
MOST_PARAMETERS = 8192
"""The most bytes of parameters: controllers are small."""


def _expressible(value: Any) -> Any:
    """Refuse what JSON, PostgreSQL and a controller in C do not all read alike."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("holds a NUL character")
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError("a whole number is larger than 2^53, from where on floating point has not all of them")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large, or none")
    if isinstance(value, dict):
        for pair in value.items():
            _expressible(list(pair))
    elif isinstance(value, list):
        for item in value:
            _expressible(item)
    return value


def _small(parameters: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(parameters)) > MOST_PARAMETERS:
        raise ValueError(f"more than {MOST_PARAMETERS} bytes")
    return parameters


def _lifetime(given: timedelta) -> timedelta:
    if not SHORTEST <= given <= LONGEST:
        raise ValueError("must be 1s to 1d")
    return given


Lifetime = Annotated[Duration, AfterValidator(_lifetime)]
Boot = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Precondition(BaseModel):
    """What must hold when the command is requested, checked against what is stored at that moment."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"dependentRequired": {name: ["channel"] for name in ("min", "max", "within")}},
    )

    online: bool | None = Field(None, description="whether the device is connected")
    boot: Boot | None = Field(None, description="its power-up counter")
    channel: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_expressible)] | None = (
        Field(None, description="a channel that has a good value not older than `within`")
    )
    min: Number | None = Field(None, description="least value of the channel")
    max: Number | None = Field(None, description="greatest value of the channel")
    within: Lifetime | None = Field(None, description="how old that value may be; without it 1m")

    @model_validator(mode="after")
    def _names_a_channel(self) -> Self:
        if self.channel is None and (self.min, self.max, self.within) != (None, None, None):
            raise ValueError("min, max and within are about a channel: say which")
        return self

    @property
    def age(self) -> timedelta:
        """How old the newest good value of the channel may be."""
        return self.within or timedelta(minutes=1)

    def said(self) -> dict[str, Any]:
        """The precondition as it is stored."""
        given = self.model_dump(exclude_none=True)
        return given if self.channel is None else given | {"within": times.duration_text(self.age)}


class CommandOrder(Order):
    model_config = ConfigDict(strict=True) | body_config(
        **{name: COMMAND[name] for name in ("name", "parameters", "precondition", "boot", "why")}, expires_in="60s"
    )

    name: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9-]{0,63}$")] = Field(
        description="name of the command; the maker of the device says which there are"
    )
    parameters: Annotated[dict[str, Any], AfterValidator(_expressible), AfterValidator(_small)] = Field(
        {}, description="passed to the device as they are"
    )
    expires_in: Lifetime = Field(
        timedelta(seconds=60), description="1s to 1d: a command that arrives later is not done"
    )
    precondition: Annotated[
        Precondition | None, WithJsonSchema({"anyOf": [Precondition.model_json_schema(), {"type": "null"}]})
    ] = Field(None, description="without it the device only must not be suspended, revoked or retired")
    boot: Boot | None = Field(
        None, description="the device refuses it in any other boot: it is meant for what runs now"
    )
