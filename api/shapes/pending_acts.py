"""Acts that wait for a second person: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.http.bodies import body_config
from api.http.description import Answer, Responses, about, example, ok
from api.http.parameters import ListParameters, Words
from api.shapes.policies import PendingKind
from api.shapes.signatures import DIGEST, Components, Digest

ActKind = PendingKind | Literal["policy"]
"""What can wait: what the organization demands a second person for, and that it demands less."""
PendingState = Literal["waiting", "done", "refused", "withdrawn", "expired"]


class PendingActAnswer(Answer):
    id: int
    kind: ActKind
    subject: Annotated[str, about("what it is done to, as the audit trail names it")]
    request: Annotated[dict[str, Any], about("what is done when another person confirms it")]
    who: Annotated[str, about("who asked for it")]
    why: str
    asked_at: str
    expires_at: str
    state: Annotated[
        PendingState, about("withdrawn: by who asked for it; expired: nobody decided in time; nothing was done then")
    ]
    decided_by: str | None
    decided_at: str | None
    reason: Annotated[str | None, about("reason of who decided")]
    result: Annotated[dict[str, Any] | None, about("of a setpoint that was sent: the id of its command")]
    digest: Annotated[str, about("SHA-256 of its canonical form: what the second person signs")]


class PendingActParameters(ListParameters):
    state: list[PendingState] = Field([], description="only in these states; may be repeated; without it all")


class Confirmation(Components):
    model_config = body_config(
        digest=DIGEST,
        email="eva@example.org",
        password="correct horse battery",  # noqa: S106 - nobody's
        why="I have checked it",
    )

    digest: Digest
    why: Words = Field(description="the reason")


PENDING = example(
    PendingActAnswer,
    """{"id": 12, "kind": "setpoints", "subject": "device/br-1", "request": {"device": "br-1",
 "parameters": {"channel": "ph", "value": 7.1}, "precondition": null, "boot": null, "expires_in_s": 60.0},
 "who": "otto@example.org", "why": "feeding begins", "asked_at": "2026-11-20T07:45:00.000000Z",
 "expires_at": "2026-11-23T07:45:00.000000Z", "state": "waiting", "decided_by": null, "decided_at": null,
 "reason": null, "result": null, "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}""",
)
WAITS: Responses = {
    202: ok(PendingActAnswer, waits=PENDING)[200]
    | {
        "description": "Nothing is done yet: it waits for a second person, as the organization demands",
        "headers": {"Location": {"description": "where the act is", "schema": {"type": "string"}}},
    }
}
"""What a route also answers whose act another person may have to confirm."""
