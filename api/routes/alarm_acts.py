"""Routes for acts on alarms. People ask for an act; the process that evaluates alarms does it or refuses it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.bodies import described, order
from api.http.parameters import DeviceName, RuleName
from api.problems import Conflict, NotFound
from api.queries import alarm_acts as queries
from api.queries import alarms
from api.queries.alarm_acts import Asker
from api.routes import PREFIX, Router
from api.services import App
from api.shapes import alarm_acts as shapes
from api.shapes import alarms as alarms_shapes
from api.shapes.alarm_acts import Acting, Acts, Shelving
from schema.alarms.machine import Action

router = Router("alarms")

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
ACTIONS = {
    Action.ACKNOWLEDGE: ("acknowledged", "Acknowledge an alarm"),
    Action.RESET: ("normal", "Open the latch of an alarm that has returned and was acknowledged"),
    Action.SHELVE: ("shelved", "Set an alarm aside for a time"),
    Action.UNSHELVE: ("unacknowledged", "End a shelving"),
    Action.SUPPRESS: ("suppressed", "Suppress an alarm until `unsuppress`"),
    Action.UNSUPPRESS: ("unacknowledged", "End the suppression of an alarm"),
    Action.REMOVE: ("out-of-service", "Take an alarm out of service, for maintenance"),
    Action.RETURN: ("normal", "Put an alarm into service again"),
}
"""For each act the alarm's state afterwards in the example, and the summary."""
SHELVING = (
    " The priority of the alarm bounds the time (a setting: critical 8 h, high 24 h, medium 7 days, low 30 days), "
    "counted from the begin of the shelving, however often it is prolonged."
)
WAITING = "The act waits for the process that evaluates alarms: see the address in Location"
LOCATION = {"Location": {"description": "where the act is", "schema": {"type": "string"}}}
ActNumber = Annotated[int, Path(ge=1, le=alarms.LAST_ID, description="`id` of an act", examples=[311])]


async def _asker(request: Request, app: App, member: Member) -> Asker:
    return Asker(member, app.settings, app.waiting, request.is_disconnected)


Asking = Annotated[Asker, Depends(_asker)]


def _action(action: Action) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def act(request: Request, database: Db, asker: Asking, *, device: DeviceName, rule: RuleName) -> Response:
        given: Acting | Shelving = await order(request, Shelving if action is Action.SHELVE else Acting)
        number = await queries.act(database, (device, rule, given.n), asker.arguments(action, given))
        found = (await asker.settled(database, [number]))[number]
        if found.state == "refused":
            raise Conflict(f"{rule} of {device}: {found.refused}", act=number)
        if found.state == "waiting":
            answer = answers.json(found, 202)
            answer.headers["Location"] = f"{PREFIX}/alarm-acts/{number}"
            return answer
        return answers.json(await alarms.one(database, device, rule))

    return act


for _name, (_state, _summary) in ACTIONS.items():
    router.add_api_route(
        f"/alarms/{{device}}/{{rule}}/{_name}",
        _action(_name),
        methods=["POST"],
        name=_name,
        dependencies=[allow(queries.ROLES[_name], Scope.ALARMS_WRITE)],
        summary=_summary,
        description="Answered when the act is done; 409 says why it was not. Repeating the request does no harm."
        + (SHELVING if _name is Action.SHELVE else ""),
        responses=description.CHANGE
        | description.ok(alarms_shapes.AlarmDetail, None, alarm=alarms_shapes.DETAIL | {"state": _state})
        | {
            202: description.ok(shapes.Act, act=shapes.ACT | {"action": _name})[200]
            | {"description": WAITING, "headers": LOCATION}
        },
        openapi_extra=described(Shelving if _name is Action.SHELVE else Acting),
    )


@router.post(
    "/alarm-acts",
    dependencies=[allow(Role.CONTROL_ROOM, Scope.ALARMS_WRITE)],
    summary="Act on many alarms at once",
    description="Each act is done or refused for itself; it needs the role that it needs for one alarm. "
    "202: some still wait for the process that evaluates alarms.",
    responses=description.CHANGE
    | description.ok(shapes.Outcomes, outcomes=shapes.OUTCOMES)
    | {202: description.ok(shapes.Outcomes, outcomes=shapes.OUTCOMES | {"waiting": 1})[200]},
    openapi_extra=described(Acts),
)
async def many(request: Request, database: Db, asker: Asking) -> Response:
    found = await queries.many(database, asker, await order(request, Acts))
    return answers.json(found, 202 if found.waiting else 200)


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
