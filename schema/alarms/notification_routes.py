"""Defines a notification route: who is notified of which alarms, and when. The API's bodies and the notifier use the
same type. The route's target, an apprise URL, is kept apart, because it holds passwords and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from schema.alarms.rules import PRIORITIES, DeviceName, Distinct, Name, Part, Priority

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
RouteName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Week = Annotated[float, Field(ge=1, le=7 * 86_400)]

SCHEMES = (
    *("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"),
    *("slack", "msteams", "workflow", "workflows", "discord", "tgram", "matrix", "matrixs", "mmost", "mmosts"),
    *("rocket", "rockets", "gchat", "wxteams", "webex", "zulip", "nctalk", "nctalks", "signal", "signals"),
    *("ntfy", "ntfys", "gotify", "gotifys", "pover", "pbul", "twilio", "vonage", "nexmo", "sns", "mailgun", "sendgrid"),
    *("pagerduty", "opsgenie", "splunk", "victorops"),
)
"""Schemes of apprise that only speak to a service. Others write files, run programs, or show something locally."""
SHOW_HOST = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "gotify", "gotifys"})
"""Schemes whose URL has a host after the scheme; in other URLs a token stands there."""
MOST_URL = 2000


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not a time zone such as Europe/Berlin or UTC") from error
    return name


class Hours(Part):
    """A time of the week: on each of the days, from `begins` to `ends`, or to `ends` of the next day if that is
    earlier."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7), Distinct]
    begins: Clock = "00:00"
    ends: Clock = "24:00"

    @model_validator(mode="after")
    def _begins_in_the_day(self) -> Self:
        if self.begins == "24:00":
            raise ValueError("`begins` is 24:00: that is 00:00 of the next day")
        return self


class NotificationRoute(Part):
    """A notification route without its name and its URL."""

    enabled: bool = True
    priorities: Annotated[list[Priority], Distinct] = Field(
        list(PRIORITIES), max_length=4, description="of the alarms; none: only what others escalate to it"
    )
    devices: Annotated[list[DeviceName], Distinct] = Field([], max_length=1000, description="names; empty: all")
    tags: Annotated[list[Name], Distinct] = Field([], max_length=32, description="the device has all of them")
    hours: list[Hours] = Field(
        [], max_length=21, description="empty: always. What is raised outside waits, and is told if it still stands"
    )
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(_zone)] = "UTC"
    group_wait_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        10.0, description="seconds that the first alarm waits for more: they are told in one message"
    )
    repeat_after_s: Week | None = Field(None, description="told again after so long, until somebody acknowledges")
    escalate_after_s: Week | None = Field(None, description="told by `escalate_to`, if nobody has acknowledged so long")
    escalate_to: RouteName | None = Field(None, description="another route, whatever priorities and devices it has")
    send_returns: bool = Field(False, description="also when an alarm that was told returns, or is acknowledged")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.escalate_after_s is None) != (self.escalate_to is None):
            raise ValueError("escalate_after_s and escalate_to go together: give both, or none")
        if self.escalate_after_s is not None and self.escalate_after_s <= self.group_wait_s:
            raise ValueError("escalate_after_s is not longer than group_wait_s: escalated before it is told")
        return self


def opening(route: NotificationRoute, now: datetime) -> datetime:
    """When the route may send: `now`, or the next begin of its hours (UTC)."""
    if not route.hours:
        return now
    spans = list(_spans(route, now))
    if any(begins <= now < ends for begins, ends in spans):
        return now
    return min(begins for begins, _ in spans if begins > now)


def _spans(route: NotificationRoute, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the spans of the route's hours around `now`."""
    zone = ZoneInfo(route.time_zone)
    today = now.astimezone(zone).date()
    for day in (today + timedelta(days=n) for n in range(-1, 9)):
        for hours in route.hours:
            if DAYS[day.weekday()] in hours.days:
                last = day if hours.ends > hours.begins else day + timedelta(days=1)
                begins, ends = _instant(day, hours.begins, zone), _instant(last, hours.ends, zone)
                if ends <= begins:  # in the hour that daylight saving skips: as long as on other days
                    ends = begins + (_instant(last, hours.ends, UTC) - _instant(day, hours.begins, UTC))
                yield begins, ends


def _instant(day: date, clock: str, zone: tzinfo) -> datetime:
    """The instant of a clock time. One that daylight saving skips comes later by as much as is skipped; of one that
    comes twice it is the first."""
    hour, minute = int(clock[:2]), int(clock[3:])
    if hour == 24:
        day, hour = day + timedelta(days=1), 0
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)


def scheme(url: str) -> str:
    """The scheme of an apprise URL in lower case; empty if it has none."""
    found = re.match("([A-Za-z][A-Za-z0-9+.-]*)://.", url)
    return found[1].lower() if found else ""


def shown(url: str) -> str:
    """The part of a URL that is not secret: the scheme, and the host where one stands for certain."""
    kind = scheme(url)
    rest = url[len(kind) + 3 :]
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    after = rest[len(place) :]
    doubtful = "@" in (re.split("[?#]", after, maxsplit=1)[0] if "@" in place else after)  # of a password with a slash?
    host = None if kind not in SHOW_HOST or doubtful else urlsplit(f"//{place}").hostname
    return f"{kind}://{host}" if host and re.fullmatch("[a-z0-9.:-]{1,253}", host) else f"{kind}://"
