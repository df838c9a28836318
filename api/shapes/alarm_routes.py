"""Routes of alarm notifications: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw
from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from api.http.description import Answer, about, example, reference
from schema.alarms.notification_routes import MOST_URL, NotificationRoute, scheme

RouteDefinition = Annotated[Raw, Meta(extra_json_schema=reference(NotificationRoute))]
"""The JSON of a route, which is sent as it is stored."""


class RouteTest(Answer):
    asked_at: str
    state: Annotated[Literal["waiting", "sent", "failed"], about("failed: `last_error` of the route says why")]
    sent_at: str | None


class AlarmRoute(Answer):
    route: Annotated[str, about("name of the route")]
    version: Annotated[int, about("number of the version, one more with each change; the ETag for If-Match")]
    address: Annotated[str, about("scheme and, if there is one, host of its URL; the rest may be secret")]
    created_at: str
    changed_at: str
    sent_at: Annotated[str | None, about("when the channel last accepted a message")]
    waiting: Annotated[int, about("number of alarms that are still to be sent")]
    failing_since: Annotated[str | None, about("null: the channel accepted the last message")]
    last_error: str | None
    warnings: Annotated[list[str], about("possible mistakes, like an escalation to a route that is off")]
    test: Annotated[RouteTest | None, about("the last test message; null: none in the last week")]
    definition: RouteDefinition


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
ROUTE = example(
    AlarmRoute,
    """{"route": "shift", "version": 1, "address": "mailtos://smtp.example.org",
 "created_at": "2026-11-20T07:45:00.000000Z", "changed_at": "2026-11-20T07:45:00.000000Z", "sent_at": null,
 "waiting": 0, "failing_since": null, "last_error": null, "warnings": [], "test": null, "definition": {"enabled": true,
 "priorities": ["high", "critical"], "devices": [], "tags": ["pilot"], "hours": [{"days": ["mon", "tue", "wed",
 "thu", "fri"], "begins": "08:00", "ends": "17:00"}], "time_zone": "Europe/Berlin", "group_wait_s": 10.0,
 "repeat_after_s": 900.0, "escalate_after_s": null, "escalate_to": null, "send_returns": true}}""",
)


def _address(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not scheme(text):
        raise ValueError("must be an apprise URL, with a scheme: docs/notifications.md has examples")
    if not text.isprintable() or " " in text:
        raise ValueError("has spaces or characters that cannot be printed: write them as %20 and the like")
    return url


class RouteChange(NotificationRoute):
    model_config = ConfigDict(
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {"url": "mailtos://biogate:secret@smtp.example.org?to=shift@example.org", **DEFINITION}
        },
    )

    url: Annotated[SecretStr, Field(max_length=MOST_URL), AfterValidator(_address)] | None = Field(
        None, description="where messages go; stored sealed, never shown. Without it the URL stays as it is"
    )
