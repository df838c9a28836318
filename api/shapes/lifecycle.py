"""What becomes of a device, and its logins: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.http.bodies import Order, OrganizationName, body_config
from api.http.description import Answer, about, example


class LoginAnswer(Answer):
    username: str
    generation: int
    kind: Literal["password", "certificate"]
    by_hand: Annotated[bool, about("true: an operator made it; false: a handshake did")]
    cell: str
    wanted: Literal["present", "disabled", "absent"]
    applied: Annotated[Literal["present", "disabled", "absent"], about("what the broker was last told")]
    created_at: str
    applied_at: str | None
    activated_at: Annotated[str | None, about("when it was first used")]
    ended_at: str | None


LOGIN = example(
    LoginAnswer,
    """{"username": "BR-2044.1", "generation": 1, "kind": "password", "by_hand": false, "cell": "main",
 "wanted": "present", "applied": "present", "created_at": "2026-11-20T07:45:00.000000Z",
 "applied_at": "2026-11-20T07:45:00.000000Z", "activated_at": "2026-11-20T07:45:00.000000Z", "ended_at": null}""",
)


class Given(Answer):
    device: str
    organization: Annotated[str, about("the new owner")]


class Gift(Order):
    model_config = body_config(organization="north", why="sold")

    organization: OrganizationName = Field(description="name of the new owner of the device and its data")
