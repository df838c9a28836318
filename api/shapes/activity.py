"""What happened in an organization: the answer, with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from api.http.description import Answer, T, about, example
from api.shapes.alerts import text

HappeningKind = Literal[
    "alarm",
    "presence",
    "phase",
    "event",
    "command",
    "annotation",
    "correction",
    "enrollment",
    "log-in",
    "deviation",
    "shift",
    "calibration",
]


class Happening(Answer):
    time: Annotated[
        str,
        about(
            "when it was recorded: of an alarm its transition, of presence the receipt of the status, of a command its "
            "request, of an annotation or a version of a correction its making, of an enrollment its last step, of a "
            "calibration the begin of the day on which it became due. Of a phase or event: by the device"
        ),
    ]
    id: Annotated[str, about("the same for as long as it is the same")]
    kind: HappeningKind
    device: Annotated[str | None, about("null: it is of no device")]
    title: Annotated[str, about("in a few words, for people")]
    who: Annotated[str | None, about("the person or key that did it")]
    facts: Annotated[dict[str, Any], about("the rest, by kind")]


HAPPENING = example(
    Happening,
    """{"time": "2026-11-20T08:45:00.000000Z", "id": "alarm/4711", "kind": "alarm", "device": "br-1",
 "title": "Temperature high: unacknowledged", "who": null, "facts": {"rule": "temperature-high", "priority": "high",
 "before": "normal", "after": "unacknowledged", "cause": "condition", "detail": "39.2 above 38",
 "at": "2026-11-20T08:44:59.600000Z"}}""",
)
STREAM = (
    f"retry: 2000\n\nevent: snapshot\ndata: {text({'time': T, 'activity': [HAPPENING], 'more': False})}\n\n"
    f"event: activity\ndata: {text({'activity': [HAPPENING]})}\n\n"
)
