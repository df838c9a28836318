"""Delivery: what became of all that devices sent, what is missing, and of which time."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.parameters import StrictParameters
from api.pages.listing import PageParameters, address
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.queries import delivery as queries
from api.queries import summary
from api.series.grid import UTC_ZONE
from api.shapes.telemetry_many import Zone
from schema.times import Span

router = PageRouter(allow(Role.VIEWER, Scope.DEVICES_READ))
DAY = timedelta(days=1)


class SpanPageParameters(PageParameters):
    day: date | None = Field(None, ge=date(1971, 1, 1), le=date(2999, 12, 31))
    last: Literal["24h", "7d"] | None = None
    tz: Zone = UTC_ZONE
    """whose days are meant"""


@router.get("/delivery")
async def delivery(page: OrganizationPage, database: Db, _: Annotated[StrictParameters, Query()]) -> Response:
    totals, holes, numbers = await asyncio.gather(
        queries.totals(database), queries.holes(database), summary.summary(database, page.member)
    )
    values: dict[str, Any] = {"totals": totals, "holes": holes, "numbers": numbers, "now": datetime.now(UTC)}
    if is_partial(page.request):
        return page.show("partials/delivery.html", **values)
    return page.show("pages/delivery.html", here="delivery", tab="now", **values)


@router.get("/delivery/time")
async def of_time(page: OrganizationPage, database: Db, asked: Annotated[SpanPageParameters, Query()]) -> Response:
    """What is missing of a day, or of the time just past."""
    now = datetime.now(UTC)
    if asked.last is not None:
        span = Span(now - {"24h": DAY, "7d": 7 * DAY}[asked.last], now)
    else:
        day = asked.day or yesterday(asked.tz)
        begin, end = (datetime.combine(one, datetime.min.time(), asked.tz).astimezone(UTC) for one in (day, day + DAY))
        span = Span(begin, min(end, max(now, begin + timedelta(seconds=1))))
    devices, rejected = await asyncio.gather(queries.of_span(database, span), queries.quarantined(database, span))
    values: dict[str, Any] = {"devices": devices, "rejected": rejected, "span": span}
    if is_partial(page.request):
        return page.show("partials/delivery-time.html", **values)
    day = span.begin.astimezone(asked.tz).date()
    tab = asked.last or ("yesterday" if day == yesterday(asked.tz) else "day")
    values |= {"tab": tab, "day_shown": day, "tz": asked.tz.key, "address": address(page.request)}
    return page.show("pages/delivery-time.html", here="delivery", **values)


def yesterday(zone: ZoneInfo) -> date:
    return datetime.now(zone).date() - DAY
