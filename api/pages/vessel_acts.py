"""What people do at a vessel: set points and other commands, notes, and corrections."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http.bodies import unambiguous
from api.http.parameters import DeviceName, Duration, NoParameters, Words
from api.pages.page import OrganizationPage, Page, PageRouter
from api.problems import BadParameter, NotFound
from api.queries import annotations as written
from api.queries import commands, corrections, devices, pending_acts
from api.queries.corrections import CorrectionOrder
from api.shapes.annotations import NewAnnotation
from api.shapes.commands import CommandOrder, Precondition
from api.shapes.corrections import NewCorrection
from schema import times

router = PageRouter(prefix="/app/{organization}/vessels/{device}")
READ = allow(Role.VIEWER, Scope.COMMANDS_READ)
COMMAND = allow(Role.ENGINEER, Scope.COMMANDS_WRITE)
NOTE = allow(Role.OPERATOR, Scope.DEVICES_WRITE)
CORRECT = allow(Role.ENGINEER, Scope.DEVICES_WRITE)
SHOWN = 6
"""The most commands that a vessel shows."""
STATES = {
    "waiting": "waits for a gateway",
    "sent": "sent; no answer yet",
    "accepted": "accepted; not done yet",
    "done": "done",
    "refused": "refused by the device",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}
Key = Annotated[str, StringConstraints(pattern="^[!-~]{1,200}$")]
Ended = Annotated[int, Path(ge=1, le=written.LAST_ID)]


class OrderForm(BaseModel):
    """What every command is told; `key` makes that a form that is sent twice is done once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: Key
    expires_in: Duration = timedelta(seconds=60)
    online: bool = False
    """Only if the device is online."""
    why: Words

    def order(self, name: str, parameters: dict[str, Any]) -> CommandOrder:
        """Return the order. Raises BadParameter."""
        given = {"name": name, "parameters": parameters, "expires_in": times.duration_text(self.expires_in)}
        precondition = Precondition(online=True) if self.online else None
        try:
            return CommandOrder.model_validate(given | {"precondition": precondition, "why": self.why})
        except ValidationError as error:
            first = error.errors()[0]
            raise BadParameter(str(first["loc"][0]), first["msg"].removeprefix("Value error, ")) from error


class SetpointForm(OrderForm):
    channel: Annotated[str, Field(min_length=1, max_length=64)]
    value: Annotated[float, Field(allow_inf_nan=False)]


class CommandForm(OrderForm):
    name: Annotated[str, StringConstraints(strip_whitespace=True)]
    parameters: str = "{}"

    def parsed(self) -> dict[str, Any]:
        """Return the parameters. Raises BadParameter."""
        unambiguous(self.parameters.encode())
        try:
            found = from_json(self.parameters, allow_inf_nan=False)
        except ValueError as error:
            raise BadParameter("parameters", f"are not JSON: {error}") from error
        if not isinstance(found, dict):
            raise BadParameter("parameters", 'are no object: write {"name": value}')
        return found


class WhyForm(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    why: Words


def new_key() -> str:
    return str(uuid4())


async def commands_shown(page: Page, database: Database, number: int, device: str) -> dict[str, Any]:
    """Return the newest commands to a device, and setpoints that wait for a second person, for the templates."""
    rows = await commands.page(database, number, None, (times.LAST, commands.LAST_ID), SHOWN)
    waiting = await pending_acts.waiting(database, f"device/{device}")
    shown = [commands.item(row) for row in rows]
    return {"commands": shown, "states": STATES, "open_states": commands.OPEN, "pending_acts": waiting}


@router.get("/commands", dependencies=[READ])
async def newest_commands(
    page: OrganizationPage, database: Db, device: DeviceName, _: Annotated[NoParameters, Query()]
) -> Response:
    """The newest commands, anew."""
    number = await devices.device_id(database, device)
    values = await commands_shown(page, database, number, device)
    return page.show("partials/vessel_commands.html", device=device, **values)


@router.post("/setpoint", dependencies=[COMMAND])
async def set_point(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    given = await page.form(SetpointForm)
    order = given.order("setpoint", {"channel": given.channel, "value": given.value})
    await commands.request(database, device, order, page.member.who, given.key)
    return page.done(f"{device} is asked to set {given.channel} to {given.value:g}.", f"vessels/{device}")


@router.post("/commands", dependencies=[COMMAND])
async def command(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    given = await page.form(CommandForm)
    order = given.order(given.name, given.parsed())
    await commands.request(database, device, order, page.member.who, given.key)
    return page.done(f"{device} is asked to {given.name}.", f"vessels/{device}")


@router.post("/commands/{command}/cancel", dependencies=[COMMAND])
async def cancel(page: OrganizationPage, database: Db, *, device: DeviceName, command: UUID) -> Response:
    given = await page.form(WhyForm)
    if (await commands.one(database, command)).device != device:
        raise NotFound(f"there is no command {command} to {device}")
    found = await commands.cancel(database, command, page.member.who, given.why)
    return page.done(f"The command {found.name} is cancelled.", f"vessels/{device}")


@router.post("/corrections", dependencies=[CORRECT])
async def correct(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    order = CorrectionOrder(page.member.who, device)
    made = await corrections.put(database, order, await page.form(NewCorrection))
    return page.done(f"Correction {made.correction} is made.", f"vessels/{device}")


@router.post("/corrections/{correction}/withdraw", dependencies=[CORRECT])
async def withdraw_correction(
    page: OrganizationPage, database: Db, *, device: DeviceName, correction: Ended
) -> Response:
    given = await page.form(WhyForm)
    await corrections.withdraw(database, CorrectionOrder(page.member.who, device, correction), given.why)
    return page.done(f"Correction {correction} is withdrawn.", f"vessels/{device}")


@router.post("/notes", dependencies=[NOTE])
async def note(page: OrganizationPage, database: Db, device: DeviceName) -> Response:
    given = await page.form(NewAnnotation)
    await written.add(database, device, (given.begins, given.ends), given.text, page.member.who)
    return page.done("The note is saved.", f"vessels/{device}")


@router.post("/notes/{number}/withdraw", dependencies=[NOTE])
async def withdraw(page: OrganizationPage, database: Db, *, device: DeviceName, number: Ended) -> Response:
    given = await page.form(WhyForm)
    await written.withdraw(database, device, number, page.member.who, given.why)
    return page.done("The note is withdrawn.", f"vessels/{device}")
