"""The route that tries a rule over stored data: when would it have fired?"""

from __future__ import annotations

from fastapi import Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.bodies import described, order
from api.jobs.question import tried
from api.jobs.trial import MOST_PERIODS
from api.routes import Router
from api.services import App
from api.shapes import alarm_trials as shapes
from api.shapes.alarm_trials import NewTrial

router = Router("alarm rules")


@router.post(
    "/alarm-trials",
    dependencies=[allow(Role.ENGINEER, Scope.RULES_WRITE)],
    summary="When would a rule have fired?",
    description="Evaluated over what is stored, by the same code as live, from nothing known at `from`; nobody "
    "acknowledges or shelves. A rule that is not enabled is tried as if it were. It stops after some 20 s (a setting) "
    f"or {MOST_PERIODS} periods, and says how far it came.",
    responses=description.CHANGE | description.ok(shapes.Trial, trial=shapes.TRIAL),
    openapi_extra=described(NewTrial),
)
async def try_(request: Request, app: App, database: Db, member: Member) -> Response:
    asked = await order(request, NewTrial)
    assert member.organization_id is not None
    return answers.json(await tried(app.trials, database, member.organization_id, asked, request.is_disconnected))
