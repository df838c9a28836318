"""How devices are doing, as their live feed tells it, with an example."""

from __future__ import annotations

from typing import Annotated, Literal

from api.http.description import Answer, T, about
from api.shapes.alerts import text
from api.shapes.devices import SINCE, DeviceState, WhyStatus

Freshness = Literal["fresh", "silent", "never"]


class LivePresence(Answer):
    device: str
    state: DeviceState
    online: Annotated[bool | None, about("null: it has never sent a status")]
    since: Annotated[str | None, about(SINCE)]
    why: WhyStatus | None
    boot: Annotated[int | None, about("power-up counter of the controller")]
    firmware: str | None
    last_seen: Annotated[str | None, about("when it was heard last, as the gateway notes it every half minute")]
    freshness: Annotated[Freshness, about("silent: nothing was heard of it for more than a minute; never: not once")]


PRESENCE = {
    **{
        "device": "br-1",
        "state": "active",
        "online": True,
        "since": T,
        "why": "newest",
        "boot": 7,
        "firmware": "2.4.1",
    },
    **{"last_seen": T, "freshness": "fresh"},
}
STREAM = (
    "retry: 2000\n\nevent: snapshot\ndata: "
    + text({"time": T, "committed_until": T, "devices": [PRESENCE], "unknown": [], "more": False})
    + f"\n\nevent: changes\ndata: {text({'committed_until': T, 'changes': [{**PRESENCE, 'online': False}]})}\n\n"
)
