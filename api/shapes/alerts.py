"""An example of what live feeds send, for the description."""

from __future__ import annotations

from typing import Any

import msgspec

from api.shapes.alarms import ALARM, TRANSITION


def text(content: Any) -> str:
    return msgspec.json.encode(content).decode()


SNAPSHOT = text({"cursor": 4710, "alarms": [ALARM], "more": False})
STREAM = (
    f"retry: 2000\n\nid: 4710\nevent: snapshot\ndata: {SNAPSHOT}\n\n"
    f"id: 4711\nevent: transition\ndata: {text(TRANSITION)}\n\n: heartbeat\nid: 4711\n\n"
)
