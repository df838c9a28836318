"""Events of devices: the answers, with an example."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from api.http.description import Answer, T, about
from api.http.parameters import ListParameters
from api.http.run_times import RunSpanParameters


class EventAnswer(Answer):
    time: str
    type: str
    boot: int | None
    n: Annotated[int | None, about("a number of the device's own, which tells equal events of one instant apart")]
    data: dict[str, Any]
    received_at: str


class EventParameters(RunSpanParameters, ListParameters):
    type: str | None = Field(None, min_length=1, max_length=64, description="only events of this type, like phase")


EVENT = {"time": T, "type": "phase", "boot": 7, "n": None, "data": {"phase": "batch"}, "received_at": T}
