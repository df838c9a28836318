"""The route for the health of the alarm system: the figures of ISA-18.2 and EEMUA 191."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.parameters import Instant, NoParameters, recent
from api.queries import alarm_health as queries
from api.queries import devices
from api.routes import Router
from api.shapes import alarm_health as shapes
from schema.times import Span

router = Router("alarms", allow(Role.VIEWER, Scope.ALARMS_READ))

USUAL, LONGEST = timedelta(days=1), timedelta(days=92)


class HealthParameters(NoParameters):
    from_: Instant | None = Field(
        None,
        alias="from",
        description="first instant, of recording; default a day before `to`",
    )
    to: Instant | None = Field(None, description="end, not part of it, at most now; default now. At most 92 days")
    device: str | None = Field(None, max_length=64, description="only this device")

    def span(self, now: datetime) -> Span:
        return recent(self.from_, min(self.to or now, now), USUAL, LONGEST)


@router.get(
    "/alarms/health",
    summary="Health of the alarm system: ISA-18.2 and EEMUA 191",
    description="Rate and floods, the alarms raised most often, chattering, fleeting and stale ones, priorities, how "
    "long acknowledgement and return took, and what is held back now; beside each what the standard wants. All but "
    "`stale` and `now` is of the range.",
    responses=description.DEVICE | description.ok(shapes.AlarmHealth, health=shapes.HEALTH),
)
async def health(request: Request, database: Db, asked: Annotated[HealthParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    now = datetime.now(UTC)
    span = asked.span(now)
    if asked.device is not None:
        await devices.device_id(database, asked.device)
    return answers.json(await queries.figures(database, span, asked.device, now))
