"""Which samples a request means: devices, channels and a time. Reading and exporting take the same parameters."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.http.parameters import AsOf, CorrectionsAsked, Quality, StrictParameters, UnitsAsked
from api.http.run_times import Moment, RunAsked
from api.shapes.devices import MOST_TAGS

PHASE_EXAMPLES = ["batch"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class SelectionParameters(StrictParameters):
    """Devices are those that fit `device`, `tag` and `location`, or those of `run`; one of these must be given."""

    device: list[Name] = Field(
        [],
        max_length=1000,
        description="device names, repeated or with commas; `*` stands for any characters and `?` for one, so `*` "
        "alone is every device",
        examples=[["br-1", "br-2*"]],
    )
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        [], max_length=MOST_TAGS, description="only devices with this tag; repeated: with all of these tags"
    )
    location: str | None = Field(
        None, min_length=1, max_length=200, description="only devices whose location begins with this text"
    )
    channel: list[Name] = Field(
        [],
        max_length=1000,
        description="channel name, or a pattern with `*` and `?`; may be repeated. A name that a device has is meant "
        "as it is. None: all channels",
        examples=[["ph", "feed_*_rate"]],
    )
    channels: list[Name] = Field(
        [], max_length=1000, description="the same with commas between (for names without a comma in them)"
    )
    run: RunAsked = None
    from_: Moment | None = Field(
        None, alias="from", description="first instant; default one hour before `to`, or the begin of `phase` or `run`"
    )
    to: Moment | None = Field(
        None, description="end, not part of the range; default now, or the end of `phase` or `run`"
    )
    phase: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="the newest time in which the device was in this phase, by its events; `from` and `to` bound it. "
        "With `run`: the phase of that run",
        examples=PHASE_EXAMPLES,
    )
    unit: UnitsAsked = Field([])
    quality: Quality = "good"
    corrections: CorrectionsAsked = None
    as_of: AsOf = None

    def as_sent(self) -> Self:
        """Return the same question for raw samples: as they were sent, if nothing else is said."""
        return self.model_copy(update={"corrections": self.corrections or "none"})
