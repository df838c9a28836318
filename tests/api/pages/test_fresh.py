"""An organization in which nothing has happened yet: each list says what to do first, and where."""

from __future__ import annotations

import re

import pytest

from api.pages.page import ORGANIZATION
from tests.api.pages.conftest import Visitor
from tests.api.pages.test_every_page import pages

FIRST = {
    "plant": "enrollment",
    "runs": "enrollment",
    "compare": "runs",
    "alarms": "alarms/rules",
    "alarms/history": "alarms/rules",
    "alarms/rules": "alarm-rules",
    "alarms/notifications": "alarm-routes",
    "channels": "enrollment",
    "samples": "plant",
    "materials": "plant",
    "deviations": "alarms",
    "shift-log": "organization",
    "reports": "runs",
    "reviews": "runs",
    "pending-acts": "organization",
    "devices": "enrollment",
    "devices-places": "devices",
    "enrollment": "enrollment/serials",
    "enrollment/serials": "enrollment",
}
"""By list: where its empty state leads."""
NEVER_EMPTY = {
    *("delivery", "delivery/time", "audit", "organization", "me", "shell", "evidence", "evidence/verify.py"),
    *("alarm-rules", "alarm-routes", "alarm-rules.yaml", "alarms/history.csv", "audit.csv", "audit/verify"),
    *("sample-imports", "material-imports", "enrollment/switch", "search", "alarms/figures", "delivery/quarantine"),
    "activity",
}
"""Forms, parts, files and figures; what a log-in stands in; and the quarantine, which is good if it is empty."""


@pytest.mark.parametrize("path", FIRST)
async def test_an_empty_list_says_what_to_do_first(admin: Visitor, path: str) -> None:
    main = (await admin.shown(path)).split("<main", 1)[1]
    told = [
        text
        for text in re.findall(r"<(?:p|td)\b.*?</(?:p|td)>", main, re.DOTALL)
        if f'/app/main/{FIRST[path]}"' in text
    ]
    assert told, main


async def test_each_list_is_known(admin: Visitor) -> None:
    found = {
        path.removeprefix(ORGANIZATION).strip("/") for method, path, _ in pages(admin.client.app) if method == "GET"
    }
    assert {path for path in found if "{" not in path} == FIRST.keys() | NEVER_EMPTY
