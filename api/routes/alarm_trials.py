"""The route that tries a rule over stored data: when would it have fired?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.bodies import described, order
from api.http.parameters import recent
from api.jobs.job import Looked
from api.jobs.trial import MOST_PERIODS, MOST_PHASES
from api.queries import alarm_rules as rules
from api.queries import devices, rule_warnings
from api.routes import Router
from api.services import App
from api.shapes import alarm_trials as shapes
from api.shapes.alarm_trials import LONGEST_TRIAL, MOST_TRIED, NewTrial
from schema import times
from schema.alarms.rules import Rule

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
    wanted = recent(asked.from_, asked.to, timedelta(days=1), LONGEST_TRIAL)
    begin, end = wanted.begin, wanted.end
    if asked.definition is not None:
        rule = Rule.model_validate({"name": "tried", **asked.definition.model_dump()})
    else:
        assert asked.rule is not None
        rule = await rules.rule(database, asked.rule)
    warnings = await rule_warnings.warnings(database, rule)
    if asked.devices is None:
        names = await rules.covered(database, rule.scope, MOST_TRIED + 1)
        if len(names) > MOST_TRIED:
            warnings.append(f"more than {MOST_TRIED} devices are in its scope: these are the first by name")
        names = names[:MOST_TRIED]
    else:
        names = asked.devices
        for name in names:
            await devices.device_id(database, name)
    found: list[Looked] = []
    if names:
        assert member.organization_id is not None
        span = times.microseconds(begin), times.microseconds(end)
        content = rule.model_dump_json().encode()
        found = await app.trials.run(member.organization_id, content, names, span, request.is_disconnected)
    return answers.json(_told(begin, end, found, warnings))


def _told(begin: datetime, end: datetime, found: list[Looked], warnings: list[str]) -> shapes.Trial:
    complete = all(one.whole for one in found)
    if end > datetime.now(UTC):
        warnings.append("`to` is in the future: more may come")
    if not complete and sum(len(one.periods) for one in found) >= MOST_PERIODS:
        warnings.append(f"it stopped with {MOST_PERIODS} periods: `until` of each device says where")
    elif not complete:
        warnings.append("it took too long and was not finished: `until` of each device says how far it came")
    for one in found:
        if one.too_many_phases:
            warnings.append(f"{one.device} has more than {MOST_PHASES} changes of phase: the later ones were ignored")
    return shapes.Trial(
        from_=times.text(begin),
        to=times.text(end),
        complete=complete,
        devices=[shapes.TriedDevice(device=one.device, frames=one.frames, until=_instant(one.until)) for one in found],
        periods=[
            shapes.Fired(
                device=one.device,
                what=period.what,
                begin=_instant(period.begin),
                end=None if period.end is None else _instant(period.end),
                value=period.value,
                detail=period.detail,
            )
            for one in found
            for period in one.periods
        ],
        warnings=warnings,
    )


def _instant(seconds: float) -> str:
    return times.text(datetime.fromtimestamp(seconds, UTC))
