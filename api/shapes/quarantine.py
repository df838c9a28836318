"""Rejected messages: the answers, with an example."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import ListParameters
from api.http.run_times import RunSpanParameters
from api.shapes.jobs import JOB
from schema.reasons import Reason

QuarantineState = Literal["open", "replayed", "discarded"]


class Quarantined(Answer):
    id: int
    received_at: str
    device: Annotated[str | None, about("the device level of the topic, registered or not")]
    topic: str
    reason: str
    detail: str
    content_type: str | None
    bytes: int
    state: QuarantineState
    settled_at: Annotated[str | None, about("when it was replayed or discarded")]
    payload: Annotated[
        str | None, about("base64; null if discarded, and in a list if over 16 KiB: ask for the item itself")
    ]


class QuarantineParameters(RunSpanParameters, ListParameters):
    reason: list[Reason] = Field([], description="only these reasons; may be repeated")
    state: list[QuarantineState] = Field(["open"], description="only in these states; may be repeated")
    device: str | None = Field(None, max_length=2000, description="the device level of the topic, registered or not")
    limit: int = Field(100, ge=1, le=200, description="most messages on a page")


QUARANTINED = example(
    Quarantined,
    """{"id": 4711, "received_at": "2026-11-20T07:45:00.000000Z", "device": "br-1",
 "topic": "bioreactors/br-1/telemetry", "reason": "too-old", "detail": "a frame of 1970-01-01",
 "content_type": "application/json", "bytes": 26, "state": "open", "settled_at": null,
 "payload": "eyJ0IjowLCJ2Ijp7InBoIjo3LjAyfX0="}""",
)

MOST_SETTLED = 1000
Message = Annotated[int, Field(ge=1, lt=2**63)]


class QuarantineOrder(Order):
    model_config = body_config(messages=[4711], why="registered since")

    messages: list[Message] = Field(min_length=1, max_length=MOST_SETTLED, description="`id` of each, in the list")


REPLAY = JOB | {
    "kind": "replay",
    "state": "queued",
    "done": 0,
    "total": None,
    "unit": "",
    "request": {"messages": [4711], "why": "registered since"},
    "file_bytes": 0,
    "started_at": None,
}


class Discarded(Answer):
    discarded: Annotated[int, about("messages whose payloads are gone; their rows stay, with hash and reason")]
