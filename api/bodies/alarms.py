"""Bodies about alarms: rules, what people do to alarms, and a rule that is tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.bodies.orders import MOST_BYTES, MOST_TAGS, Order, Tag, body
from api.models.alarms import DEFINITION, Action, AlarmState
from api.parameters import Instant, device_name
from api.problems import BadRules
from schema.alarms.expression import BadExpression
from schema.alarms.rules import Definition, Priority, RuleName

LONGEST_SHELVING = timedelta(days=30)
LONGEST_TRIAL = timedelta(days=31)
MOST_ALARMS = 500
"""In one request."""
MOST_TRIED = 50
"""Devices."""

Device = Annotated[str, AfterValidator(device_name)]


class Ending(Order):
    """What may have an end."""

    until: Instant | None = Field(None, description="the end of a shelving, at most 30 days from now")
    duration_s: Annotated[int, Field(ge=1, le=LONGEST_SHELVING // timedelta(seconds=1))] | None = Field(
        None, description="instead of `until`: for so long"
    )
    once: bool = Field(False, description="a shelving that ends as soon as the alarm returns")

    def check_end(self) -> None:
        """Raises ValueError."""
        if (self.until is None) == (self.duration_s is None):
            raise ValueError("shelving has an end: give either until or duration_s")
        now = datetime.now(UTC)
        if self.until is not None and not now < self.until <= now + LONGEST_SHELVING:
            raise ValueError("until must lie in the next 30 days")


class Shelving(Ending):
    """With an end in any case: what is shelved for ever is forgotten."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"duration_s": 3600, "once": False, "why": "probe is being cleaned"}}
    )

    @model_validator(mode="after")
    def _ends(self) -> Self:
        self.check_end()
        return self


class One(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device
    rule: RuleName


class Which(BaseModel):
    """As the parameters of the list; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Annotated[list[AlarmState], Field(max_length=8)] = []
    priority: Annotated[list[Priority], Field(max_length=4)] = []
    device: Device | None = None
    tag: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = []
    rule: RuleName | None = None
    standing: bool | None = None
    unacknowledged: bool | None = None


class Acts(Ending):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "action": "acknowledge",
                "alarms": [{"device": "br-1", "rule": "temperature-high"}],
                "why": "power failure of hall 2",
            }
        }
    )

    action: Action
    alarms: Annotated[list[One], Field(min_length=1, max_length=MOST_ALARMS)] | None = Field(
        None, description="which ones: this or `filter`"
    )
    filter: Which | None = Field(None, description=f"all for which it holds, if they are {MOST_ALARMS} at most")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.alarms is None) == (self.filter is None):
            raise ValueError("give either alarms or filter")
        if self.alarms is not None and len(set(self.alarms)) < len(self.alarms):
            raise ValueError("an alarm is named twice")
        if self.action == "shelve":
            self.check_end()
        elif self.until is not None or self.duration_s is not None or self.once:
            raise ValueError("until, duration_s and once are of shelve alone")
        return self


class Trial(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "definition": {name: DEFINITION[name] for name in ("title", "when", "on_delay")},
                "devices": ["br-1"],
                "from": "2026-11-19T07:45:00Z",
                "to": "2026-11-20T07:45:00Z",
            }
        },
    )

    rule: RuleName | None = Field(None, description="the name of a rule that there is")
    definition: Definition | None = Field(None, description="or one that is not saved")
    devices: Annotated[list[Device], Field(min_length=1, max_length=MOST_TRIED)] | None = Field(
        None, description=f"without it, those in its scope, the first {MOST_TRIED} by name"
    )
    from_: Instant | None = Field(None, alias="from", description="without it a day before `to`")
    to: Instant | None = Field(None, description="end, not part of it, at most 31 days later; without it now")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.rule is None) == (self.definition is None):
            raise ValueError("give either rule or definition")
        if self.devices is not None and len(set(self.devices)) < len(self.devices):
            raise ValueError("a device is named twice")
        return self


async def definition(request: Request) -> Definition:
    """The body as a rule. Raises BadRules."""
    content = await body(request, MOST_BYTES)
    try:
        return Definition.model_validate_json(content)
    except ValidationError as error:
        raise bad_rule(error) from error


def bad_rule(error: ValidationError) -> BadRules:
    """What is wrong with a rule, each with its place; of a formula with the column."""
    found = []
    for one in error.errors(include_url=False):
        # Below `when` pydantic names the kind, too: it is no field.
        place = [part for part, before in zip(one["loc"], (None, *one["loc"]), strict=False) if before != "when"]
        detail = one["msg"].removeprefix("Value error, ")
        fault = {"parameter": ".".join(map(str, place)) or "body", "detail": detail[:1].lower() + detail[1:]}
        cause = one.get("ctx", {}).get("error")
        found.append(fault | ({"column": cause.column} if isinstance(cause, BadExpression) else {}))
    return BadRules("; ".join(f"{one['parameter']}: {one['detail']}" for one in found[:10]), errors=found)
