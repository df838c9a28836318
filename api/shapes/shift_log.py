"""The shift log: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.http.bodies import DeviceText, Email, body_config
from api.http.description import Answer, about, example
from api.http.parameters import ListParameters, SpanParameters
from api.shapes.deviations import CommentText
from api.shapes.devices import Location


class ShiftEntry(Answer):
    id: int
    at: str
    who: str
    text: str
    location: Annotated[str | None, about("null: it is of the whole organization")]
    devices: list[str]
    handed_to: Annotated[str | None, about("to whom the shift is handed over; null: it is no handover")]
    accepted_at: Annotated[str | None, about("when that person accepted; null: not yet")]


ENTRY = example(
    ShiftEntry,
    """{"id": 8, "at": "2026-11-20T22:00:00.000000Z", "who": "eva@example.com",
 "text": "br-1 foams since noon; antifoam is nearly empty.", "location": "Hall 2", "devices": ["br-1"],
 "handed_to": "ida@example.com", "accepted_at": null}""",
)


class ShiftLogParameters(SpanParameters, ListParameters):
    location: str | None = Field(
        None, min_length=1, max_length=200, description="only of places that begin with this text"
    )
    device: str | None = Field(None, max_length=64, description="only with this device")
    waiting: bool = Field(False, description="true: only handovers that nobody has accepted yet")


class NewShiftEntry(BaseModel):
    """The body of a new entry. It has no reason: the text is one."""

    model_config = body_config(
        text="br-1 foams since noon; antifoam is nearly empty.", devices=["br-1"], handed_to="ida@example.com"
    )

    text: CommentText
    location: Location | None = Field(None, description="where; without it the whole organization")
    devices: Annotated[list[DeviceText], Field(max_length=50)] = Field([], description="devices that it is about")
    handed_to: Email | None = Field(None, description="a member who is to accept the shift")
