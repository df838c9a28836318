"""Holds: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, device_name


class Hold(Answer):
    hold_id: int
    organization: Annotated[str, about("its own; the organization that runs the installation sees the holds of all")]
    device: Annotated[str | None, about("null: all devices of the organization")]
    begins: Annotated[str | None, about("null: from the oldest data on")]
    ends: Annotated[str | None, about("null: all future data too")]
    who: str
    why: str
    made_at: str
    ended_at: Annotated[str | None, about("null: the hold is in force")]
    dropped_until: Annotated[
        str | None,
        about("frames of its time, up to there, have been dropped: before it was made, or after it was ended"),
    ]


HOLD = example(
    Hold,
    """{"hold_id": 3, "organization": "main", "device": "br-1", "begins": "2026-11-01T00:00:00.000000Z",
 "ends": "2026-11-15T00:00:00.000000Z", "who": "eva@example.org", "why": "batch 4711 is being inspected",
 "made_at": "2026-11-20T07:45:00.000000Z", "ended_at": null, "dropped_until": null}""",
)


class NewHold(Order):
    model_config = body_config(
        device="br-1", begins="2026-11-01T00:00:00Z", ends="2026-11-15T00:00:00Z", why="batch 4711 is being inspected"
    )

    device: Annotated[str, AfterValidator(device_name)] | None = Field(
        None, description="without it, all devices of the organization"
    )
    begins: Instant | None = Field(None, description="without it, from the oldest data on")
    ends: Instant | None = Field(None, description="without it, all future data too, until the hold is ended")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise ValueError("`begins` must be before `ends`")
        return self
