"""Defines an alarm rule. The API's bodies, files in YAML (files.py) and the evaluator use the same type. Validation
refuses a rule that contradicts itself, and says why in words for people."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schema import topics
from schema.alarms import expression, grammar

Priority = Literal["low", "medium", "high", "critical"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


def _line(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in text):
        raise ValueError("control characters and line breaks are not allowed")
    return text


def _text(text: str) -> str:
    """Check a text, which may have several lines."""
    if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in text if sign not in "\n\t"):
        raise ValueError("control characters are not allowed")
    return text


def _formula(text: str) -> str:
    if not expression.compile(text).channels:
        raise ValueError("the formula reads no channel: its result would never change")
    return text


def _device(name: str) -> str:
    if not topics.is_device_name(name):
        raise ValueError(
            "a device's name has 1 to 64 of letters, digits, '.', '_', '-', and begins with one of the first two"
        )
    return name


def _distinct(names: list[str]) -> list[str]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"twice in the list: {', '.join(twice[:5])}")
    return names


Line = AfterValidator(_line)
ChannelName = Annotated[str, Field(min_length=1, max_length=64), Line]
Name = Annotated[str, Field(min_length=1, max_length=64), Line]
RuleName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
DeviceName = Annotated[str, AfterValidator(_device)]
Distinct = AfterValidator(_distinct)
Seconds = Annotated[float, Field(ge=0, le=86_400)]
SomeSeconds = Annotated[float, Field(gt=0, le=86_400)]
Deadband = Annotated[float, Field(ge=0, description="the value must be so far on the good side to return")]
Expression = Annotated[
    str,
    Field(min_length=1, max_length=grammar.MAX_LENGTH, description="schema/alarms/grammar.py"),
    AfterValidator(_formula),
]


class Part(BaseModel):
    # Strict: `true` is no number, and neither is "38".
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def channels(self) -> frozenset[str]:
        """The channels that this part reads."""
        return frozenset()


class OfChannel(Part):
    channel: ChannelName

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({self.channel})


class Limit(OfChannel):
    """Holds while a value is beyond a limit. It returns at limit − deadband (high) or limit + deadband (low)."""

    kind: Literal["limit"]
    level: Literal["low-low", "low", "high", "high-high"]
    limit: float
    deadband: Deadband = 0.0

    @property
    def is_high(self) -> bool:
        return self.level in {"high", "high-high"}

    @model_validator(mode="after")
    def _returns(self) -> Self:
        back = self.limit - self.deadband if self.is_high else self.limit + self.deadband
        if (self.limit > 0 > back) if self.is_high else (self.limit < 0 < back):
            raise ValueError(
                f"the deadband is larger than the limit: the alarm would return only at {back:g}"
                " (if that is meant, say it in `clear`)"
            )
        return self


class Deviation(OfChannel):
    """Holds while process value and setpoint differ by more than `limit`."""

    kind: Literal["deviation"]
    setpoint: ChannelName | None = Field(None, description="without it `<channel>_setpoint`")
    limit: Annotated[float, Field(gt=0)]
    deadband: Deadband = 0.0
    direction: Literal["above", "below", "both"] = "both"

    @property
    def setpoint_channel(self) -> str:
        return self.setpoint or f"{self.channel}_setpoint"

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({self.channel, self.setpoint_channel})

    @model_validator(mode="after")
    def _returns(self) -> Self:
        if self.channel == self.setpoint:
            raise ValueError("channel and setpoint are the same")
        if self.setpoint is None and len(self.setpoint_channel) > 64:
            raise ValueError("name the setpoint: `<channel>_setpoint` would be too long for a channel's name")
        _narrow(self.deadband, self.limit)
        return self


class RateOfChange(OfChannel):
    """Holds while a value changes faster than `limit` a minute, over `window` seconds (slope by least squares)."""

    kind: Literal["rate"]
    limit: Annotated[float, Field(gt=0, description="units a minute")]
    window: Annotated[float, Field(gt=0, le=3600)] = 60.0
    deadband: Deadband = 0.0
    direction: Literal["rising", "falling", "both"] = "both"

    @model_validator(mode="after")
    def _returns(self) -> Self:
        _narrow(self.deadband, self.limit)
        return self


class Frozen(OfChannel):
    """Holds when samples come but the value has not moved by more than `tolerance` for `after` seconds."""

    kind: Literal["frozen"]
    after: SomeSeconds
    tolerance: Annotated[float, Field(ge=0)] = 0.0


class Quality(OfChannel):
    """Holds while the device marks a value as not good, or sends none where one was due."""

    kind: Literal["quality"]


class Silent(Part):
    """Holds when nothing of the device was committed for `after` seconds (by the evaluator's clock)."""

    kind: Literal["silent"]
    after: Annotated[float, Field(ge=1, le=86_400)]


class SequenceGap(Part):
    """Holds while at least `frames` numbers are missing in the sequence, counted over the last `window` seconds."""

    kind: Literal["gap"]
    frames: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    window: SomeSeconds = 600.0


class Skew(Part):
    """Holds while times of frames and of receipt differ by more than `limit` s, even at the minute's best."""

    kind: Literal["skew"]
    limit: SomeSeconds


class Formula(Part):
    """Holds while an expression over channels of the device is true."""

    kind: Literal["formula"]
    expression: Expression

    @property
    def channels(self) -> frozenset[str]:
        return expression.compile(self.expression).channels


Condition = Annotated[
    Limit | Deviation | RateOfChange | Frozen | Quality | Silent | SequenceGap | Skew | Formula,
    Field(discriminator="kind"),
]


class RuleScope(Part):
    """Which devices a rule covers, and when: all that is given must hold. Empty: all of the organization, always."""

    devices: Annotated[list[DeviceName], Field(max_length=10_000, description="names"), Distinct] = []
    tags: Annotated[list[Name], Field(max_length=32, description="the device has all of them"), Distinct] = []
    phases: Annotated[
        list[Name],
        Field(max_length=32, description="only in these run phases; in others the alarm is suppressed by design"),
        Distinct,
    ] = []


class Definition(Part):
    """A rule without its name: the form in which it is stored, and which the API takes."""

    title: Annotated[str, Field(min_length=1, max_length=100), Line]
    enabled: bool = True
    priority: Priority = "medium"
    scope: RuleScope = RuleScope()
    when: Condition
    clear: Expression | None = Field(
        None, description="the alarm returns when this holds, instead of when the condition no longer holds"
    )
    on_delay: Seconds = Field(0.0, description="seconds for which the condition must hold, by the device's time")
    off_delay: Seconds = Field(
        0.0, description="seconds for which the condition must not hold before the alarm returns"
    )
    stale_after: SomeSeconds = Field(
        60.0,
        description="seconds after which a value that was not sent again is unknown, or three of the usual intervals "
        "of its channel if that is longer",
    )
    unknown: Literal["hold", "raise", "clear"] = Field(
        "hold", description="what to do while the condition is unknown: keep the alarm (and say so), raise or clear it"
    )
    latch: bool = Field(False, description="the alarm stays until somebody resets it")
    message: Annotated[str, Field(max_length=500), AfterValidator(_text)] = ""
    response: Annotated[
        str, Field(max_length=2000, description="what the operator is to do"), AfterValidator(_text)
    ] = ""

    @property
    def channels(self) -> frozenset[str]:
        """The channels that the rule reads from each device."""
        return self.when.channels | (expression.compile(self.clear).channels if self.clear else frozenset())

    @model_validator(mode="after")
    def _one_way_back(self) -> Self:
        if self.clear is None:
            return self
        if isinstance(self.when, Limit | Deviation | RateOfChange) and self.when.deadband:
            raise ValueError("`clear` and a deadband both say when the alarm returns: give one of them")
        if isinstance(self.when, Silent):
            raise ValueError("`clear` is not allowed here: silence ends when the device sends again")
        if isinstance(self.when, Formula) and self.when.expression == self.clear:
            raise ValueError("`clear` is the condition itself: the alarm would be raised and cleared at once")
        return self


class Rule(Definition):
    name: RuleName


def _narrow(deadband: float, limit: float) -> None:
    if deadband >= limit:
        raise ValueError("the deadband is not smaller than the limit: the alarm would hardly ever return")
