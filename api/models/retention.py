"""The shape of a hold, with an example."""

from __future__ import annotations

from pydantic import Field

from api.models.common import Answer, Page, T


class Hold(Answer):
    hold_id: int
    device: str | None = Field(description="null: all of the organization")
    begins: str | None = Field(description="null: from the first on")
    ends: str | None = Field(description="null: and all that is to come")
    who: str
    why: str
    made_at: str
    ended_at: str | None = Field(description="null: it is in force")
    dropped_until: str | None = Field(
        description="frames of its time, up to there, have been dropped: before it was made, or after it was ended"
    )


class Holds(Page):
    holds: list[Hold]


HOLD = {
    "hold_id": 3,
    "device": "br-1",
    "begins": "2026-11-01T00:00:00.000000Z",
    "ends": "2026-11-15T00:00:00.000000Z",
    "who": "eva@example.org",
    "why": "batch 4711 is being inspected",
    "made_at": T,
    "ended_at": None,
    "dropped_until": None,
}
