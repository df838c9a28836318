"""What stands around every page: counts beside the names of pages, and the most urgent alarm."""

from __future__ import annotations

import asyncio

from fastapi import Response

from api.access.guard import Db
from api.pages import alarm_words
from api.pages.page import OrganizationPage, PageRouter
from api.queries import plant, summary

router = PageRouter()


@router.get("/shell")
async def shell(page: OrganizationPage, database: Db) -> Response:
    """Counts and banner; a page asks for them anew whenever an alarm changes."""
    may = page.may("viewer", "alarms:read")
    numbers, standing = await asyncio.gather(
        summary.summary(database, page.member), plant.alarms(database) if may else _none()
    )
    every = [one for some in standing.values() for one in some if one.state != "normal"]
    urgent = sorted(
        (one for one in every if one.state in {"unacknowledged", "returned-unacknowledged"}),
        key=lambda one: (plant.ALARMING.index(one.priority), one.since),
    )
    return page.show("partials/shell.html", numbers=numbers, urgent=urgent, standing=len(every), words=alarm_words)


async def _none() -> dict[str, list[plant.StandingAlarm]]:
    return {}
