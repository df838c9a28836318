"""Hours of routes, what a route may be, and what of a URL may be shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schema.alarms.notification_routes import NotificationRoute, opening, scheme, shown

WORK = {"days": ["mon", "tue", "wed", "thu", "fri"], "begins": "08:00", "ends": "17:00"}
NIGHT = {"days": ["fri"], "begins": "22:00", "ends": "06:00"}


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ([], "2026-11-20T03:00+01:00", None),
        ([WORK], "2026-11-20T08:00+01:00", None),
        ([WORK], "2026-11-20T16:59+01:00", None),
        ([WORK], "2026-11-20T17:00+01:00", "2026-11-23T08:00+01:00"),
        ([WORK], "2026-11-20T06:59+00:00", "2026-11-20T08:00+01:00"),
        ([NIGHT], "2026-11-20T23:00+01:00", None),
        ([NIGHT], "2026-11-21T05:59+01:00", None),
        ([NIGHT], "2026-11-21T06:00+01:00", "2026-11-27T22:00+01:00"),
        ([WORK, NIGHT], "2026-11-20T18:00+01:00", "2026-11-20T22:00+01:00"),
        ([{"days": ["sat"]}], "2026-11-21T23:59+01:00", None),
        ([{"days": ["sat"]}], "2026-11-22T00:00+01:00", "2026-11-28T00:00+01:00"),
        # clocks go forward on 29 March 2026, and back on 25 October
        ([{"days": ["sun"], "begins": "04:00"}], "2026-03-29T01:30+01:00", "2026-03-29T04:00+02:00"),
        ([{"days": ["sun"], "begins": "04:00"}], "2026-10-25T01:30+02:00", "2026-10-25T04:00+01:00"),
    ],
)
def test_when_a_route_may_tell(hours: list[dict[str, Any]], now: str, opens: str | None) -> None:
    route = NotificationRoute.model_validate({"hours": hours, "time_zone": "Europe/Berlin"})
    assert opening(route, datetime.fromisoformat(now)) == datetime.fromisoformat(opens or now)


SUNDAY = "2026-03-29T"


@pytest.mark.parametrize(
    ("begins", "ends", "opens", "closes"),
    [
        # Berlin skips 02:00 to 03:00: hours there come later, and are as long as on other days.
        ("02:00", "03:00", "03:00+02:00", "04:00+02:00"),
        ("02:30", "03:00", "03:30+02:00", "04:00+02:00"),
        ("02:10", "02:50", "03:10+02:00", "03:50+02:00"),
        ("02:15", "03:15", "03:15+02:00", "04:15+02:00"),
        # Hours that lie there in part begin or end later.
        ("01:00", "02:30", "01:00+01:00", "03:30+02:00"),
        ("02:30", "06:00", "03:30+02:00", "06:00+02:00"),
        ("01:30", "03:00", "01:30+01:00", "03:00+02:00"),
    ],
)
def test_hours_that_daylight_saving_skips_open_all_the_same(begins: str, ends: str, opens: str, closes: str) -> None:
    hours = [{"days": ["sun"], "begins": begins, "ends": ends}]
    route = NotificationRoute.model_validate({"hours": hours, "time_zone": "Europe/Berlin"})
    opened, closed = (datetime.fromisoformat(f"{SUNDAY}{time}") for time in (opens, closes))
    second = timedelta(seconds=1)
    assert opening(route, opened - second) == opened
    assert opening(route, opened) == opened
    assert opening(route, closed - second) == closed - second
    assert opening(route, closed) > closed + timedelta(days=6)


def test_hours_open_where_midnight_is_skipped() -> None:
    hours = [{"days": ["fri"], "begins": "00:00", "ends": "00:30"}]
    route = NotificationRoute.model_validate({"hours": hours, "time_zone": "Africa/Cairo"})
    assert opening(route, datetime.fromisoformat("2026-04-23T12:00Z")) == datetime.fromisoformat("2026-04-23T22:00Z")


def test_of_an_hour_that_comes_twice_the_first_opens() -> None:
    hours = [{"days": ["sun"], "begins": "02:30", "ends": "02:45"}]
    route = NotificationRoute.model_validate({"hours": hours, "time_zone": "Europe/Berlin"})
    assert opening(route, datetime.fromisoformat("2026-10-25T00:00Z")) == datetime.fromisoformat("2026-10-25T00:30Z")


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ({"time_zone": "Europe/Atlantis"}, "not a time zone"),
        ({"time_zone": "/etc/localtime"}, "not a time zone"),
        ({"hours": [{"days": ["mon"], "begins": "24:00"}]}, "24:00"),
        ({"hours": [{"days": ["mon", "mon"]}]}, "twice in the list: mon"),
        ({"escalate_after_s": 60.0}, "go together"),
        ({"escalate_after_s": 5.0, "escalate_to": "x"}, "before it is told"),
        ({"group_wait_s": True}, "float_type"),
    ],
)
def test_a_route_that_cannot_be_is_refused(definition: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        NotificationRoute.model_validate(definition)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mailtos://eva:s3cret@smtp.example.org:465?to=eva@example.org", "mailtos://smtp.example.org"),
        ("JSON://[::1]:8080/s3cret", "json://::1"),
        ("jsons://hooks.example.org/s3cret?x=s3cret", "jsons://hooks.example.org"),
        ("slack://s3cret/s3cret", "slack://"),
        ("json://eva:s3/cret@example.org", "json://"),
        ("json://s3cret/eva@example.org", "json://"),
        ("json://s3cret?eva@example.org", "json://"),
        ("tgram://1:s3cret/2", "tgram://"),
    ],
)
def test_of_a_url_no_secret_is_shown(url: str, address: str) -> None:
    assert shown(url) == address
    assert scheme(url) == url.partition(":")[0].lower()
