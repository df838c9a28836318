"""Routes for acts on alarms. People ask for an act; the process that evaluates alarms does it or refuses it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Path, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.bodies import described, order
from api.http.parameters import DeviceName, RuleName
from api.problems import Conflict, Forbidden, NotFound, TooMuch
from api.queries import alarm_acts as queries
from api.queries import alarms
from api.queries.alarm_acts import ActArguments, ChosenAlarm
from api.routes import PREFIX, Router
from api.services import App, Services
from api.shapes import alarm_acts as shapes
from api.shapes import alarms as alarms_shapes
from api.shapes.alarm_acts import MOST_ALARMS, Acting, Acts, Shelving

router = Router("alarms")

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
ACTIONS = {
    "acknowledge": (Role.OPERATOR, "acknowledged", "Acknowledge an alarm"),
    "reset": (Role.OPERATOR, "normal", "Open the latch of an alarm that has returned and was acknowledged"),
    "shelve": (Role.OPERATOR, "shelved", "Set an alarm aside for a time"),
    "unshelve": (Role.OPERATOR, "unacknowledged", "End a shelving"),
    "suppress": (Role.ENGINEER, "suppressed", "Suppress an alarm until `unsuppress`"),
    "unsuppress": (Role.OPERATOR, "unacknowledged", "End the suppression of an alarm"),
    "remove-from-service": (Role.ENGINEER, "out-of-service", "Take an alarm out of service, for maintenance"),
    "return-to-service": (Role.ENGINEER, "normal", "Put an alarm into service again"),
}
"""For each action the least role, the alarm's state afterwards in the example, and the summary."""
FOR_ENGINEERS = frozenset(action for action, (role, *_) in ACTIONS.items() if role is Role.ENGINEER)
SHELVING = (
    " The priority of the alarm bounds the time (a setting: critical 8 h, high 24 h, medium 7 days, low 30 days), "
    "counted from the begin of the shelving, however often it is prolonged."
)
WAITING = "The act waits for the process that evaluates alarms: see the address in Location"
LOCATION = {"Location": {"description": "where the act is", "schema": {"type": "string"}}}
ActNumber = Annotated[int, Path(ge=1, le=alarms.LAST_ID, description="`id` of an act", examples=[311])]


def _action(action: str) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def act(
        request: Request, app: App, database: Db, member: Member, *, device: DeviceName, rule: RuleName
    ) -> Response:
        given: Acting | Shelving = await order(request, Shelving if action == "shelve" else Acting)
        number = await queries.act(database, (device, rule, given.n), _arguments(app, member, action, given))
        found = (await _settled(app, request, database, member, [number]))[number]
        if found.state == "refused":
            raise Conflict(f"{rule} of {device}: {found.refused}", act=number)
        if found.state == "waiting":
            answer = answers.json(found, 202)
            answer.headers["Location"] = f"{PREFIX}/alarm-acts/{number}"
            return answer
        return answers.json(await alarms.one(database, device, rule))

    return act


for _name, (_role, _state, _summary) in ACTIONS.items():
    router.add_api_route(
        f"/alarms/{{device}}/{{rule}}/{_name}",
        _action(_name),
        methods=["POST"],
        name=_name,
        dependencies=[allow(_role, Scope.ALARMS_WRITE)],
        summary=_summary,
        description="Answered when the act is done; 409 says why it was not. Repeating the request does no harm."
        + (SHELVING if _name == "shelve" else ""),
        responses=description.CHANGE
        | description.ok(alarms_shapes.AlarmDetail, None, alarm=alarms_shapes.DETAIL | {"state": _state})
        | {
            202: description.ok(shapes.Act, act=shapes.ACT | {"action": _name})[200]
            | {"description": WAITING, "headers": LOCATION}
        },
        openapi_extra=described(Shelving if _name == "shelve" else Acting),
    )


@router.post(
    "/alarm-acts",
    dependencies=[allow(Role.OPERATOR, Scope.ALARMS_WRITE)],
    summary="Act on many alarms at once",
    description="Each act is done or refused for itself. 202: some still wait for the process that evaluates alarms.",
    responses=description.CHANGE
    | description.ok(shapes.Outcomes, outcomes=shapes.OUTCOMES)
    | {202: description.ok(shapes.Outcomes, outcomes=shapes.OUTCOMES | {"waiting": 1})[200]},
    openapi_extra=described(Acts),
)
async def many(request: Request, app: App, database: Db, member: Member) -> Response:
    given = await order(request, Acts)
    if given.action in FOR_ENGINEERS and not (member.role and member.role.covers(Role.ENGINEER)):
        raise Forbidden(f"{given.action} is for the role engineer or higher; you are {member.role}")
    chosen = await _chosen(database, given)
    numbers = (
        await queries.act_on_many(database, chosen, _arguments(app, member, given.action, given)) if chosen else []
    )
    found = await _settled(app, request, database, member, [number for number in numbers if number is not None])
    outcomes = [
        shapes.OutcomeAnswer(
            device=device,
            rule=rule,
            outcome="unknown" if number is None else found[number].state,
            act=number,
            detail=None if number is None else found[number].refused,
        )
        for (device, rule, _), number in zip(chosen, numbers, strict=True)
    ]
    counted = Counter(one.outcome for one in outcomes)
    sums = {name: counted[name] for name in ("done", "refused", "waiting", "unknown")}
    return answers.json(shapes.Outcomes(**sums, acts=outcomes), 202 if counted["waiting"] else 200)


async def _chosen(database: Database, given: Acts) -> list[ChosenAlarm]:
    if given.alarms is not None:
        return [(one.device, one.rule, one.n) for one in given.alarms]
    assert given.filter is not None
    which = given.filter
    found = await alarms.page(database, which, ("", ""), MOST_ALARMS + 1, device=which.device, tags=which.tag)
    if len(found) > MOST_ALARMS:
        raise TooMuch(f"filter: it holds for more than {MOST_ALARMS} alarms: narrow it, and do them one part at a time")
    return [(one["device"], one["rule"], one["n"]) for one in found]


@router.get(
    "/alarm-acts/{number}",
    dependencies=READ,
    summary="One act: whether it waits, was done or was refused",
    responses=description.THING | description.ok(shapes.Act, act=shapes.ACT),
)
async def one(database: Db, number: ActNumber, _: JsonOnly) -> Response:
    found = await queries.acts(database, [number])
    if number not in found:
        raise NotFound(f"there is no act {number}")
    return answers.json(found[number])


def _arguments(app: Services, member: Principal, action: str, given: Acting | Shelving | Acts) -> ActArguments:
    longest = json.dumps(app.settings.longest_shelving_s)
    if isinstance(given, Acting):
        return action, None, None, False, member.who, given.why, longest
    span = None if given.duration_s is None else timedelta(seconds=given.duration_s)
    return action, given.until, span, given.once, member.who, given.why, longest


async def _settled(
    app: Services, request: Request, database: Database, member: Principal, numbers: Sequence[int]
) -> dict[int, shapes.Act]:
    """Return the acts when they are done or when patience ends; at once while too many requests wait already."""
    whose = member.organization_id
    patience = 0.0 if app.waiting.is_full(whose) else app.settings.api_act_patience
    with app.waiting.one_more(whose):
        return await queries.settled(database, numbers, patience, request.is_disconnected)
