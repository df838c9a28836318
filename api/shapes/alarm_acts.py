"""What people do to alarms: what is taken and what is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http.bodies import DeviceText, Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant
from api.shapes.alarms import Action, AlarmState
from api.shapes.devices import MOST_TAGS, Tag
from schema.alarms.rules import Priority, RuleName


class Act(Answer):
    id: int
    device: str
    rule: str
    action: Action
    until: Annotated[str | None, about("of a shelving: its end")]
    once: Annotated[bool, about("of a shelving: it ends when the alarm returns")]
    who: str
    why: str
    asked_at: str
    state: Annotated[Literal["waiting", "done", "refused"], about("waiting: for the process that evaluates alarms")]
    done_at: Annotated[str | None, about("when it was done or refused")]
    refused: Annotated[str | None, about("why nothing was done")]
    n: Annotated[int | None, about("the transition of the alarm that it became")]


class OutcomeAnswer(Answer):
    device: str
    rule: str
    outcome: Annotated[
        Literal["done", "refused", "waiting", "unknown"], about("unknown: there is no such device or no such rule")
    ]
    act: Annotated[int | None, about("`id` at /api/v1/alarm-acts; null: there is none")]
    detail: Annotated[str | None, about("why it was refused")]


class Outcomes(Answer):
    done: Annotated[int, about("how many of them; refused, waiting and unknown likewise")]
    refused: int
    waiting: int
    unknown: int
    acts: list[OutcomeAnswer]


ACT = example(
    Act,
    """{"id": 311, "device": "br-1", "rule": "temperature-high", "action": "acknowledge", "until": null,
 "once": false, "who": "eva@example.org", "why": "seen, the valve is being changed",
 "asked_at": "2026-11-20T07:45:00.000000Z", "state": "waiting", "done_at": null, "refused": null, "n": null}""",
)
OUTCOMES = example(
    Outcomes,
    """{"done": 1, "refused": 1, "waiting": 0, "unknown": 0, "acts": [{"device": "br-1",
 "rule": "temperature-high", "outcome": "done", "act": 311, "detail": null}, {"device": "br-2",
 "rule": "temperature-high", "outcome": "refused", "act": 312,
 "detail": "it is normal: there is nothing to acknowledge"}]}""",
)

LONGEST_SHELVING = timedelta(days=30)
MOST_ALARMS = 500
"""In one request."""


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

    model_config = body_config(duration_s=3600, once=False, why="probe is being cleaned")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        self.check_end()
        return self


class One(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: DeviceText
    rule: RuleName


class Which(BaseModel):
    """As the parameters of the list; all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Annotated[list[AlarmState], Field(max_length=8)] = []
    priority: Annotated[list[Priority], Field(max_length=4)] = []
    device: DeviceText | None = None
    tag: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = []
    rule: RuleName | None = None
    standing: bool | None = None
    unacknowledged: bool | None = None


class Acts(Ending):
    model_config = body_config(
        action="acknowledge", alarms=[{"device": "br-1", "rule": "temperature-high"}], why="power failure of hall 2"
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
