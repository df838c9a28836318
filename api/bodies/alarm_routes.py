"""The body that makes an alarm route, or changes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from api.models.alarm_routes import DEFINITION
from schema.alarms.notification_routes import MOST_URL, NotificationRoute, scheme


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
        None, description="where it leads to; kept sealed and never shown. Without it, it stays as it is"
    )
