"""The figures of the alarm system, each beside what the standards want."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Query, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.bodies import DeviceText
from api.pages import alarm_words as words
from api.pages.filters import Filters
from api.pages.page import OrganizationPage, PageRouter
from api.queries import alarm_health, devices
from schema.times import Span

router = PageRouter(allow(Role.VIEWER, Scope.ALARMS_READ))

NAMES = 500
"""Devices that the filter offers."""
SPANS = {1: "24 h", 7: "7 days", 30: "30 days", 92: "92 days"}


class FigureFilters(Filters):
    days: Literal["1", "7", "30", "92"] = "1"
    device: DeviceText | None = None


@router.get("/alarms/figures")
async def figures(page: OrganizationPage, database: Db, asked: Annotated[FigureFilters, Query()]) -> Response:
    now, days = datetime.now(UTC), int(asked.days)
    if asked.device is not None:
        await devices.device_id(database, asked.device)
    found = await alarm_health.figures(database, Span(now - timedelta(days=days), now), asked.device, now)
    return page.show(
        "pages/alarm_figures.html",
        here="alarms",
        tab="alarms/figures",
        found=found,
        asked=asked,
        days=days,
        spans=SPANS,
        names=[name for _, name in await devices.names(database, "", NAMES)],
        hours=found.hours if days == 1 else [],
        words=words,
    )
