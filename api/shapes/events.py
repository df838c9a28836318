"""Events of devices: the answers, with an example."""

from __future__ import annotations

from typing import Any

from api.http.description import Answer, T


class EventAnswer(Answer):
    time: str
    type: str
    boot: int | None
    data: dict[str, Any]
    received_at: str


EVENT = {"time": T, "type": "phase", "boot": 7, "data": {"phase": "batch"}, "received_at": T}
