"""Hours of routes, what a route may be, and what of a URL may be shown."""

from __future__ import annotations

from datetime import datetime
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
