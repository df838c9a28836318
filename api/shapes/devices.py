"""Devices: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import ListParameters, printable

SINCE = "begin of the connection, by the device's clock; if it is offline: when its status, or its will, was received"
WhyStatus = Annotated[
    Literal["newest", "received later", "heard"],
    about(
        "why this status holds. newest: it has the greatest boot and time; received later: others are greater, and "
        "came more than ten minutes before, as after a change of boards; heard: the last status says offline, and the "
        "device has sent since"
    ),
]


class Presence(Answer):
    online: bool
    since: Annotated[str, about(SINCE)]
    why: WhyStatus
    boot: Annotated[int, about("power-up counter of the controller")]
    firmware: str | None


DeviceState = Literal["pending", "active", "suspended", "revoked", "retired"]


class DeviceAnswer(Answer):
    device: str
    state: Annotated[DeviceState, about("pending: it has a login and has not used it yet")]
    registered_at: str
    presence: Annotated[Presence | None, about("null: the device has never sent a status")]
    last_frame_at: Annotated[str | None, about("time of the newest frame; null: none yet")]
    title: Annotated[str | None, about("what people call it")]
    location: str | None
    tags: list[str]


DEVICE = example(
    DeviceAnswer,
    """{"device": "br-1", "state": "active", "registered_at": "2026-11-20T07:45:00.000000Z",
 "presence": {"online": true, "since": "2026-11-20T07:45:00.000000Z", "why": "newest", "boot": 7,
  "firmware": "2.4.1"},
 "last_frame_at": "2026-11-20T07:45:00.000000Z", "title": "Fermenter 3", "location": "Hall 2/Bay 4",
 "tags": ["ecoli", "pilot"]}""",
)


class DeviceDetail(DeviceAnswer):
    version: Annotated[int, about("number of the version of title, location and tags; the ETag for If-Match")]


DETAIL = DEVICE | {"version": 3}
MOST_TAGS = 32
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(printable)]


Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), AfterValidator(printable)]
Location = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(printable)]


class DeviceParameters(ListParameters):
    state: list[DeviceState] = Field([], description="only in these states; may be repeated; without it all")
    online: bool | None = Field(None, description="true: only devices that are online; false: only the others")
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field(
        [], max_length=MOST_TAGS, description="only devices with this tag; repeated: with all of these tags"
    )
    location: str | None = Field(
        None, min_length=1, max_length=200, description="only devices whose location begins with this text"
    )
    q: str | None = Field(
        None, min_length=1, max_length=100, description="only devices whose name or title contains this, in any case"
    )


class DeviceChange(Order):
    model_config = body_config(title="Fermenter 3", location="Hall 2/Bay 4", tags=["pilot"], why="moved")

    title: Title | None = Field(None, description="what people call it; empty: no title")
    location: Location | None = Field(None, description="where it stands, the larger place first; empty: no location")
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = Field(
        None, description="all its tags: others are removed; they are stored sorted, each once"
    )
