"""The answers' shapes about alarm routes, and an example of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.models.common import Answer, Page, T
from schema.alarms.notification_routes import NotificationRoute as Definition


class RouteTest(Answer):
    asked_at: str
    state: Literal["waiting", "sent", "failed"] = Field(description="failed: `last_error` of the route says why")
    sent_at: str | None


class AlarmRoute(Answer):
    route: str = Field(description="its name")
    version: int = Field(description="counts its changes; the ETag, for If-Match")
    address: str = Field(description="of its URL the scheme, and the host where one stands; the rest may be secret")
    created_at: str
    changed_at: str
    sent_at: str | None = Field(description="when the channel took a message last")
    waiting: int = Field(description="alarms that it has still to tell")
    failing_since: str | None = Field(description="null: the channel has taken the last message")
    last_error: str | None
    test: RouteTest | None = Field(description="the last one; null: none was asked for, not in the last week")
    definition: Definition


class AlarmRoutes(Page):
    routes: list[AlarmRoute]


DEFINITION: dict[str, Any] = {
    "enabled": True,
    "priorities": ["high", "critical"],
    "devices": [],
    "tags": ["pilot"],
    "hours": [{"days": ["mon", "tue", "wed", "thu", "fri"], "begins": "08:00", "ends": "17:00"}],
    "time_zone": "Europe/Berlin",
    "group_wait_s": 10.0,
    "repeat_after_s": 900.0,
    "escalate_after_s": None,
    "escalate_to": None,
    "send_returns": True,
}
ROUTE: dict[str, Any] = {
    "route": "shift",
    "version": 1,
    "address": "mailtos://smtp.example.org",
    "created_at": T,
    "changed_at": T,
    "sent_at": None,
    "waiting": 0,
    "failing_since": None,
    "last_error": None,
    "test": None,
    "definition": DEFINITION,
}
