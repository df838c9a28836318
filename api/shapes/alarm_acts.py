"""What people do to alarms: what is taken and what is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http.bodies import DeviceText, Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant
from api.shapes.devices import MOST_TAGS, Tag
from schema.alarms.machine import Action, AlarmState
from schema.alarms.rules import Priority, RuleName


class Act(Answer):
    id: int
    device: str
    rule: str
    action: Action
    until: Annotated[str | None, about("end of a shelving")]
    once: Annotated[bool, about("true: a shelving that ends when the alarm returns")]
    who: str
    why: str
    asked_at: str
    state: Annotated[Literal["waiting", "done", "refused"], about("waiting: the alarms process has still to do it")]
    done_at: Annotated[str | None, about("when it was done or refused")]
    refused: Annotated[str | None, about("why nothing was done")]
    n: Annotated[int | None, about("number of the alarm's transition that the act caused")]


class OutcomeAnswer(Answer):
    device: str
    rule: str
    outcome: Annotated[
        Literal["done", "refused", "waiting", "unknown"], about("unknown: there is no such device or no such rule")
    ]
    act: Annotated[int | None, about("`id` at /api/v1/alarm-acts; null: no act was made")]
    detail: Annotated[str | None, about("why it was refused")]


class Outcomes(Answer):
    done: Annotated[int, about("number of acts done; refused, waiting and unknown likewise")]
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
"""The most alarms in one request."""


SEEN = (
    "`n` of the alarm as the person has seen it: the act is refused if the alarm was raised again since; null: done "
    "whatever has happened"
)
Seen = Annotated[int | None, Field(ge=0, le=2**63 - 1, description=SEEN)]


class Acting(Order):
    """The body of an act on one alarm."""

    model_config = body_config(n=7, why="seen, the valve is being changed")

    n: Seen = None


class Ending(Order):
    """The body of an act that may be a shelving, which has an end."""

    until: Instant | None = Field(
        None, description="the end of a shelving, at most 30 days from now, less for priorities above low"
    )
    duration_s: Annotated[int, Field(ge=1, le=LONGEST_SHELVING // timedelta(seconds=1))] | None = Field(
        None, description="instead of `until`: seconds for which the alarm is shelved"
    )
    once: bool = Field(False, description="true: the shelving ends as soon as the alarm returns")

    def check_end(self) -> None:
        """Raise ValueError unless there is one end, in the next 30 days."""
        if (self.until is None) == (self.duration_s is None):
            raise ValueError("shelving has an end: give either until or duration_s")
        now = datetime.now(UTC)
        if self.until is not None and not now < self.until <= now + LONGEST_SHELVING:
            raise ValueError("until must lie in the next 30 days")


class Shelving(Ending):
    """The body of a shelving, which must have an end: an alarm shelved for ever is forgotten."""

    model_config = body_config(duration_s=3600, once=False, n=7, why="probe is being cleaned")

    n: Seen = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        self.check_end()
        return self


class AlarmName(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: DeviceText
    rule: RuleName
    n: Seen = None


class AlarmFilter(BaseModel):
    """The filter of alarms, like the parameters of the list: all given conditions must hold."""

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
        action="acknowledge",
        alarms=[{"device": "br-1", "rule": "temperature-high", "n": 7}],
        why="power failure of hall 2",
    )

    action: Action
    alarms: Annotated[list[AlarmName], Field(min_length=1, max_length=MOST_ALARMS)] | None = Field(
        None, description="the alarms; or give `filter`"
    )
    filter: AlarmFilter | None = Field(
        None, description=f"all alarms that match, at most {MOST_ALARMS}; or give `alarms`"
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.alarms is None) == (self.filter is None):
            raise ValueError("give either alarms or filter")
        if self.alarms is not None and len({(one.device, one.rule) for one in self.alarms}) < len(self.alarms):
            raise ValueError("an alarm is named twice")
        if self.action == "shelve":
            self.check_end()
        elif self.until is not None or self.duration_s is not None or self.once:
            raise ValueError("until, duration_s and once are for shelve only")
        return self
