"""The answers' shapes about commands, and an example."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.models.common import Answer, Page, T

CommandState = Literal["waiting", "sent", "accepted", "done", "refused", "failed", "expired", "cancelled"]


class Command(Answer):
    id: str
    device: str
    name: str
    parameters: dict[str, Any]
    precondition: dict[str, Any] | None = Field(description="what was true of the device when it was asked for")
    boot: int | None = Field(description="the device refuses it in any other boot")
    state: CommandState = Field(
        description="waiting: for a gateway; sent: the broker has it; accepted, done, refused, failed: the device said "
        "so; expired: it was not sent or not answered in time; if it was sent, it is not known whether it was done; "
        "cancelled: before it was sent"
    )
    requested_by: str
    why: str
    requested_at: str
    expires_at: str = Field(description="it is not begun after that")
    sent_at: str | None
    accepted_at: str | None
    ended_at: str | None = Field(description="null: it has not ended")
    detail: str | None = Field(description="what the device or the gateway says of it")
    result: dict[str, Any] | None = Field(description="what the device answered")


class Commands(Page):
    commands: list[Command]


COMMAND: dict[str, Any] = {
    "id": "3f2b8c1e-9d4a-4f6b-8e7c-1a2b3c4d5e6f",
    "device": "br-1",
    "name": "setpoint",
    "parameters": {"channel": "ph", "value": 7.1},
    "precondition": {"online": True, "channel": "ph", "min": 6.5, "max": 7.5, "within": "1m"},
    "boot": 7,
    "state": "waiting",
    "requested_by": "eva@example.org",
    "why": "feeding begins",
    "requested_at": T,
    "expires_at": "2026-11-20T07:46:00.000000Z",
    "sent_at": None,
    "accepted_at": None,
    "ended_at": None,
    "detail": None,
    "result": None,
}
ENDED = COMMAND | {
    "state": "done",
    "sent_at": "2026-11-20T07:45:00.020000Z",
    "accepted_at": "2026-11-20T07:45:00.050000Z",
    "ended_at": "2026-11-20T07:45:01.200000Z",
    "result": {"value": 7.1},
}
